"""Values that the server sends by itself: the latest of each node, while it keeps sending."""

from collections.abc import Sequence
from typing import Any, Final

from asyncua import ua

from ems.drivers.link import BadAnswer, LinkDown
from ems.model import Link

SILENT_AFTER: Final = 3
"""Publishing intervals without a word after which a subscription is dead."""
LIFE_S: Final = 20.0
"""The server forgets a subscription that nobody fetches from for so long."""
_SEQUENCES: Final = 0xFFFF_FFFF


class Subscription:
    """The latest value of each of some nodes.

    One slot a node, so there is no queue that could overflow: the newest value wins.
    A value that does not change is not sent again; it holds for as long as the server
    says something every publishing interval, be it only that nothing changed. A
    message lost on the way, seen by its number, ends the subscription, because the
    value it brought would never come again. Nothing is ever replayed into it: after
    a reconnect a new one is made, and the server begins with the present values.

    Args:
        nodes: Node ids.
        publish_s: How often the server looks, and sends what changed, s.
        silence_max_s: Longest silence for which unchanged values may hold, s.
        stamped: Send a value also when only its source time stamp moved.
    """

    def __init__(
        self, nodes: Sequence[Any], publish_s: float, silence_max_s: float, stamped: bool
    ) -> None:
        self.values: list[Any] = [None] * len(nodes)
        """Latest DataValue of each node; ``None`` before the first."""
        self.changes = 0
        """Messages with values so far."""
        self.silent_after_s = min(SILENT_AFTER * publish_s, silence_max_s)
        self._nodes, self._publish_s = nodes, publish_s
        self._silence_max_s, self._stamped = silence_max_s, stamped
        self._heard_s = 0.0
        self._next = 0
        self._ended = ""
        self._id = 0
        self._loop_time: Any = None

    @property
    def complete(self) -> bool:
        """Whether every node has said something."""
        return None not in self.values

    async def start(self, client: Any, loop_time: Any) -> None:
        """Create it on the server, with nothing to watch yet.

        Raises:
            ua.UaError, OSError: the server does not do so.
            BadAnswer: it wants to say less often that nothing changed than we may wait.
        """
        self._loop_time = loop_time
        period_ms = 1000 * self._publish_s
        wanted = ua.CreateSubscriptionParameters(
            RequestedPublishingInterval=period_ms,
            RequestedLifetimeCount=max(10, round(LIFE_S / self._publish_s)),
            RequestedMaxKeepAliveCount=1,
            MaxNotificationsPerPublish=0,
            PublishingEnabled=True,
            Priority=0,
        )
        self._heard_s = loop_time()
        granted = await client.uaclient.session.create_subscription(wanted, self._published)
        # A server may insist on a slower beat; then its silence is noticed later.
        beat_s = granted.RevisedPublishingInterval / 1000 * max(1, granted.RevisedMaxKeepAliveCount)
        if beat_s >= self._silence_max_s:
            raise BadAnswer(
                f"the server says only every {beat_s:g} s that nothing changed, but values live "
                f"{self._silence_max_s:g} s: set opcua_mode: batch in the profile"
            )
        beats_s = SILENT_AFTER * max(self._publish_s, beat_s)
        self.silent_after_s = min(beats_s, self._silence_max_s)
        self._id = granted.SubscriptionId

    async def watch(self, client: Any, places: Sequence[int]) -> None:
        """Have the server watch some of the nodes.

        Args:
            client: As for :meth:`start`, which came before.
            places: Their places among the nodes; no more than the server takes at a time.
        """
        items = ua.CreateMonitoredItemsParameters(
            SubscriptionId=self._id,
            TimestampsToReturn=ua.TimestampsToReturn.Both
            if self._stamped
            else ua.TimestampsToReturn.Neither,
            ItemsToCreate=[self._item(k) for k in places],
        )
        results = await client.uaclient.session.create_monitored_items(items)
        for k, result in zip(places, results, strict=True):
            if not result.StatusCode.is_good():
                self.values[k] = ua.DataValue(StatusCode=result.StatusCode)

    def check(self) -> None:
        """Raise ``LinkDown`` when the server has stopped sending; only connecting anew helps."""
        if self._ended:
            raise LinkDown(Link.SILENT, f"the subscription ended: {self._ended}")
        silent_s = self._loop_time() - self._heard_s
        if silent_s > self.silent_after_s:
            raise LinkDown(Link.SILENT, f"nothing from the subscription for {silent_s:.1f} s")

    def _item(self, k: int) -> Any:
        asked = ua.MonitoringParameters(
            ClientHandle=k,
            SamplingInterval=1000 * self._publish_s,
            QueueSize=1,
            DiscardOldest=True,
        )
        if self._stamped:
            asked.Filter = ua.DataChangeFilter(Trigger=ua.DataChangeTrigger.StatusValueTimestamp)
        return ua.MonitoredItemCreateRequest(
            ItemToMonitor=ua.ReadValueId(NodeId=self._nodes[k], AttributeId=ua.AttributeIds.Value),
            MonitoringMode=ua.MonitoringMode.Reporting,
            RequestedParameters=asked,
        )

    def _published(self, result: Any) -> None:
        """One message of the server, called by asyncua's publishing loop."""
        message = result.NotificationMessage
        content = message.NotificationData
        if self._next and message.SequenceNumber not in (self._next, 0):
            self._ended = self._ended or (
                f"message {message.SequenceNumber} where {self._next} was due"
            )
        if content:
            number = int(message.SequenceNumber)
            self._next = 1 if number == _SEQUENCES else number + 1
        for notice in content or ():
            if isinstance(notice, ua.DataChangeNotification):
                self.changes += 1
                for item in notice.MonitoredItems:
                    self.values[item.ClientHandle] = item.Value
            elif isinstance(notice, ua.StatusChangeNotification):
                self._ended = self._ended or notice.Status.name
        self._heard_s = self._loop_time()
