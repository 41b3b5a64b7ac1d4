"""The one task that talks on a connection: polls, commands, reconnects, safe state."""

import asyncio
import logging
import math
import random
from collections.abc import Callable
from typing import Final

from ems.clock import Clock
from ems.drivers.coding.block import Block
from ems.drivers.link import (
    BadAnswer,
    Connection,
    DeviceRefusal,
    LinkDown,
    NoAnswer,
    PointWrite,
    WriteForbidden,
)
from ems.drivers.serving import arrival
from ems.drivers.serving.arrival import Arrival
from ems.drivers.serving.carry import COMMAND_LIFE_S, Carrier
from ems.drivers.serving.member import Context, Member, Order
from ems.drivers.serving.schedule import stretch
from ems.model import CommandResult, Link

log = logging.getLogger(__name__)

__all__ = ["BACKOFF_MAX_S", "COMMAND_LIFE_S", "SILENT_AFTER", "Context", "Member", "Order", "Owner"]

SILENT_AFTER: Final = 3
"""Unanswered requests in a row after which a device counts as silent."""
SILENT_RETRY_S: Final = 2.0
"""First pause before a silent device is asked again; it doubles from time to time."""
SILENT_RETRY_MAX_S: Final = 30.0
DEAD_SHARE_MAX: Final = 0.03
"""Share of the line's time that one silent device may cost the others."""
BACKOFF_FIRST_S: Final = 0.2
BACKOFF_MAX_S: Final = 5.0
IDENTIFY_S: Final = 30.0
"""How often a device that is not the one described is looked at anew."""
_PLAN_S: Final = 5.0
"""How often the periods are fitted to what the line can carry."""
_SATURATED: Final = 1.1
"""Stretching that is worth a line in the log."""


class Owner:
    """Serves all devices behind one connection from one task.

    Args:
        connection: The transport; used by this task only.
        members: Devices behind it.
        clock: Monotonic time.
        report: Takes the outcome of each command.
        rng: Jitter of the back-off, so that a site's links do not retry in step.
        spent: Called after a write to memory that wears out.
    """

    def __init__(
        self,
        connection: Connection,
        members: list[Member],
        clock: Clock,
        report: Callable[[CommandResult], None],
        rng: random.Random,
        spent: Callable[[], None] = lambda: None,
    ) -> None:
        self.connection, self.members = connection, members
        self._clock, self._report, self._rng = clock, report, rng
        self._carrier = Carrier(clock, self._poll, spent)
        self._arrival = Arrival(clock, self._poll, self._carrier)
        self._wake = asyncio.Event()
        self._stopping = False
        self._pause_s = BACKOFF_FIRST_S
        self._plan_at_s = 0.0
        self._stretched = 1.0
        connection.on_lost = self._lost

    @property
    def stretched(self) -> float:
        """Factor by which the slowest polls are late against their class; 1 when none are."""
        return self._stretched

    def submit(self, member: Member, order: Order) -> None:
        """Queue a command; an older one for the same actuator that has not gone is dropped."""
        if not (self.connection.connected and member.image.link is Link.UP):
            self._result(order, "the device is not connected")
            return
        older = member.pending.pop(order.key, None)
        if older is not None:
            self._result(older, "replaced by a newer command before it was sent")
        member.pending[order.key] = order
        self._wake.set()

    def _lost(self) -> None:
        """The connection broke: nothing known over it holds any more."""
        why = self.connection.loss or "connection closed by the device"
        for member in self.members:
            self._lose(member, Link.REFUSED, why)
        self._wake.set()

    def abandon(self, why: str) -> None:
        """Nobody serves the connection any more: show every device as silent."""
        for member in self.members:
            self._lose(member, Link.SILENT, why)

    def request_stop(self) -> None:
        """Finish the request in flight, bring the devices to their safe state, and end."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Connect, serve, reconnect with growing pauses, until asked to stop."""
        self._pause_s = BACKOFF_FIRST_S
        while not self._stopping:
            try:
                await self.connection.connect()
                await self._sleep(max(m.port.device.link.connect_delay_s for m in self.members))
                await self._serve()
            except LinkDown as down:
                for member in self.members:
                    self._lose(member, down.link, str(down))
            if not self._stopping:
                await self.connection.close()
                await self._sleep(self._pause_s * self._rng.uniform(0.75, 1.25))
                self._pause_s = min(2 * self._pause_s, BACKOFF_MAX_S)
        await arrival.leave(self.members, self.connection)
        await self.connection.close()

    async def _serve(self) -> None:
        """Poll and command until the connection ends."""
        for member in self.members:
            member.prepared, member.failures = False, 0
            member.pause_s = member.silent_until_s = 0.0
            member.jobs = []
        while not self._stopping and self.connection.connected:
            self._wake.clear()
            now_s = self._clock.monotonic_s()
            commanded = next((m for m in self.members if m.pending and m.prepared), None)
            if commanded is not None:
                await self._command(commanded)
                continue
            beating = next((m for m in self.members if m.prepared and m.beat_due_s <= now_s), None)
            if beating is not None:
                await self._beat(beating)
                continue
            self._plan(now_s)
            member = min(self.members, key=Member.due_s)
            due_s = min(
                member.due_s(), *(m.beat_due_s for m in self.members if m.prepared), math.inf
            )
            if due_s > now_s:
                await self._sleep(due_s - now_s)
                continue
            if await self._attend(member):
                self._pause_s = BACKOFF_FIRST_S
                member.pause_s = 0.0
            elif member.failures >= SILENT_AFTER or not member.prepared:
                self._set_aside(member, self._clock.monotonic_s() - now_s)
                if all(m.image.link is not Link.UP for m in self.members):
                    raise LinkDown(Link.SILENT, "no answer")

    def _set_aside(self, member: Member, cost_s: float) -> None:
        """Ask a silent device ever more seldom, so that it does not slow the living."""
        self._lose(member, Link.SILENT, member.complaint or "no answer")
        member.pause_s = min(max(2.0 * member.pause_s, SILENT_RETRY_S), SILENT_RETRY_MAX_S)
        pause_s = max(member.pause_s, cost_s / DEAD_SHARE_MAX)
        member.silent_until_s = self._clock.monotonic_s() + pause_s * self._rng.uniform(0.9, 1.1)

    def _plan(self, now_s: float) -> None:
        """Fit the periods to what the line can carry."""
        if now_s < self._plan_at_s:
            return
        self._plan_at_s = now_s + _PLAN_S
        alive = [member for member in self.members if member.prepared]
        factor = stretch([job for member in alive for job in member.jobs])
        for member in alive:
            for job in member.jobs:
                member.image.stretch(job.block, job.period_s)
        if (factor >= _SATURATED) is not (self._stretched >= _SATURATED):
            names = ", ".join(member.id for member in self.members)
            if factor >= _SATURATED:
                log.warning(
                    "%s: the line is full; slow polls take %.1f times as long", names, factor
                )
            else:
                log.warning("%s: the line keeps up with all polls again", names)
        self._stretched = factor

    async def _attend(self, member: Member) -> bool:
        """Prepare a device or poll its most urgent block; whether it answered properly."""
        now_s = self._clock.monotonic_s()
        try:
            if not member.prepared or (member.foreign and now_s >= member.identify_at_s):
                member.identify_at_s = now_s + IDENTIFY_S
                await self._arrival.prepare(member)
                self._plan_at_s = 0.0
            else:
                job = min(member.jobs, key=lambda job: job.due_s)
                began_s = self._clock.monotonic_s()
                try:
                    await self._poll(member, job.block)
                finally:
                    job.done(began_s, self._clock.monotonic_s())
                for order, reason in self._carrier.unmet(member):
                    self._result(order, reason)
        except NoAnswer:
            member.failures += 1
            return False
        member.failures = 0
        return True

    async def _poll(self, member: Member, block: Block) -> bool:
        """Read one block into the image; whether this very device has it."""
        try:
            answer = await member.port.read(block)
        except (BadAnswer, DeviceRefusal) as error:
            member.image.spoil(block, self._clock.monotonic_s())
            member.spoiled.add(block.key)
            member.complain(f"block {block.key}: {error}")
            return True
        if answer is None:
            return False
        member.image.store(block, answer, self._clock.monotonic_s())
        member.spoiled.discard(block.key)
        if member.prepared:
            member.content()
            if member.port.device.identity:
                arrival.identify(member)
        return True

    async def _command(self, member: Member) -> None:
        order = member.pending.pop(next(iter(member.pending)))
        try:
            reason = await self._carrier.carry_out(member, order)
        except NoAnswer as error:
            member.failures += 1
            reason = str(error)
        except LinkDown as down:
            self._result(order, str(down))
            raise
        self._result(order, reason)

    async def _beat(self, member: Member) -> None:
        """Move our counter, which the device wants to see."""
        rule = member.port.device.heartbeat_write
        assert rule is not None
        member.beat_due_s = self._clock.monotonic_s() + rule.period_s
        member.counter = member.counter + 1 if member.counter < rule.wrap else 0
        point = member.port.device.points[rule.point]
        try:
            await member.port.write([PointWrite(point, member.counter)])
        except WriteForbidden:
            member.withheld[f"{rule.point} (our counter)"] = None
            member.beat_due_s = math.inf  # we only observe
        except (BadAnswer, DeviceRefusal) as error:
            member.complain(f"heartbeat: {error}")
        except NoAnswer:
            member.failures += 1

    def _lose(self, member: Member, link: Link, why: str) -> None:
        member.image.lose(link)
        member.prepared = False
        member.foreign = member.no_dead_man = ""
        for order in member.pending.values():
            self._result(order, why)
        member.pending.clear()
        member.expected.clear()
        member.spoiled.clear()
        member.complain(why)

    def _result(self, order: Order, reason: str) -> None:
        self._report(CommandResult(order.command, not reason, reason, self._clock.monotonic_s()))

    async def _sleep(self, duration_s: float) -> None:
        if duration_s <= 0.0:
            return
        try:
            async with asyncio.timeout(duration_s):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()
