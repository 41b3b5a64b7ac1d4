"""A subscription by itself: what holds, what ends it, and what is never taken for a value."""

import asyncio
from types import SimpleNamespace

import pytest
from asyncua import ua

from ems.drivers.link import BadAnswer, LinkDown
from ems.drivers.opcua.subscription import Subscription

PUBLISH_S, LIFE_S = 0.5, 3.0


class Server:
    """The far end as asyncua's session shows it; grants what it is told to."""

    def __init__(self, interval_ms: float = 500.0, keep_alive: int = 1) -> None:
        self.granted = ua.CreateSubscriptionResult(
            SubscriptionId=7,
            RevisedPublishingInterval=interval_ms,
            RevisedLifetimeCount=100,
            RevisedMaxKeepAliveCount=keep_alive,
        )
        self.items: list[ua.MonitoredItemCreateRequest] = []
        self.codes: dict[int, int] = {}
        self.deliver = None
        self.uaclient = SimpleNamespace(session=self)

    async def create_subscription(self, asked, callback):
        self.asked, self.deliver = asked, callback
        return self.granted

    async def create_monitored_items(self, asked):
        self.items = asked.ItemsToCreate
        return [
            ua.MonitoredItemCreateResult(StatusCode=ua.StatusCode(self.codes.get(k, 0)))
            for k in range(len(self.items))
        ]

    def publish(self, number: int, *notices) -> None:
        message = ua.NotificationMessage(SequenceNumber=number, NotificationData=list(notices))
        self.deliver(ua.PublishResult(SubscriptionId=7, NotificationMessage=message))


class Clock:
    """Time that moves when told."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def values(**by_handle: float) -> ua.DataChangeNotification:
    return ua.DataChangeNotification(
        MonitoredItems=[
            ua.MonitoredItemNotification(
                ClientHandle=int(handle[1:]), Value=ua.DataValue(ua.Variant(value))
            )
            for handle, value in by_handle.items()
        ]
    )


@pytest.fixture
def clock() -> Clock:
    return Clock()


def subscribed(server: Server, clock: Clock, stamped: bool = False) -> Subscription:
    made = Subscription(["n0", "n1"], PUBLISH_S, LIFE_S, stamped)
    asyncio.run(begun(made, server, clock))
    return made


async def begun(made: Subscription, server: Server, clock: Clock) -> None:
    await made.start(server, clock)
    await made.watch(server, range(2))


def contents(made: Subscription) -> list[object]:
    return [None if value is None else value.Value.Value for value in made.values]


def test_the_newest_value_wins_and_the_others_hold(clock):
    server = Server()
    made = subscribed(server, clock)
    assert not made.complete
    server.publish(1, values(h0=1.0, h1=2.0))
    assert made.complete
    server.publish(2, values(h1=3.0), values(h1=4.0))
    assert contents(made) == [1.0, 4.0]
    assert made.changes == 3


def test_a_server_asked_for_little_and_for_a_word_each_interval(clock):
    server = Server()
    subscribed(server, clock)
    assert server.asked.RequestedPublishingInterval == 500.0
    assert server.asked.RequestedMaxKeepAliveCount == 1
    assert server.asked.RequestedLifetimeCount == 40, "20 s"
    assert [item.RequestedParameters.QueueSize for item in server.items] == [1, 1]
    assert not isinstance(server.items[0].RequestedParameters.Filter, ua.DataChangeFilter)


def test_where_stamps_are_judged_a_moved_stamp_is_news(clock):
    server = Server()
    subscribed(server, clock, stamped=True)
    trigger = server.items[0].RequestedParameters.Filter.Trigger
    assert trigger is ua.DataChangeTrigger.StatusValueTimestamp


@pytest.mark.parametrize(
    ("granted", "silent_after_s"),
    [
        pytest.param(Server(), 1.5, id="as asked: three intervals"),
        pytest.param(Server(keep_alive=2), 3.0, id="a word every other interval"),
        pytest.param(Server(interval_ms=1000.0), 3.0, id="a slower interval"),
        pytest.param(Server(interval_ms=1000.0, keep_alive=2), 3.0, id="never past the life"),
    ],
)
def test_silence_ends_it(clock, granted, silent_after_s):
    made = subscribed(granted, clock)
    granted.publish(1, values(h0=1.0, h1=2.0))
    clock.now_s += silent_after_s
    made.check()
    granted.publish(2)
    clock.now_s += silent_after_s
    made.check()
    clock.now_s += 0.01
    with pytest.raises(LinkDown, match="nothing from the subscription for"):
        made.check()


def test_a_server_that_speaks_less_often_than_values_live_is_refused(clock):
    with pytest.raises(BadAnswer, match="set opcua_mode: batch"):
        subscribed(Server(interval_ms=1000.0, keep_alive=3), clock)


def test_a_lost_message_ends_it(clock):
    server = Server()
    made = subscribed(server, clock)
    server.publish(1, values(h0=1.0, h1=2.0))
    server.publish(2)
    made.check()
    server.publish(3, values(h0=5.0))
    with pytest.raises(LinkDown, match="ended: message 3 where 2 was due"):
        made.check()
    server.publish(4, values(h0=6.0))
    with pytest.raises(LinkDown, match="message 3 where 2"):
        made.check()


def test_a_lost_message_is_noticed_at_the_next_word_even_without_values(clock):
    server = Server()
    made = subscribed(server, clock)
    server.publish(1, values(h0=1.0, h1=2.0))
    server.publish(3)
    with pytest.raises(LinkDown, match="message 3 where 2 was due"):
        made.check()


def test_numbers_wrap_from_the_largest_to_1(clock):
    server = Server()
    made = subscribed(server, clock)
    server.publish(0xFFFF_FFFF, values(h0=1.0, h1=2.0))
    server.publish(1, values(h0=2.0))
    made.check()


def test_the_servers_own_end_of_it_ends_it(clock):
    server = Server()
    made = subscribed(server, clock)
    gone = ua.StatusChangeNotification(Status=ua.StatusCode(ua.StatusCodes.BadTimeout))
    server.publish(1, gone)
    with pytest.raises(LinkDown, match="the subscription ended: BadTimeout"):
        made.check()


def test_a_node_that_cannot_be_watched_has_its_status_and_no_value(clock):
    server = Server()
    server.codes[1] = ua.StatusCodes.BadNodeIdUnknown
    made = subscribed(server, clock)
    server.publish(1, values(h0=1.0))
    assert made.complete
    assert contents(made) == [1.0, None]
    assert made.values[1].StatusCode.name == "BadNodeIdUnknown"
