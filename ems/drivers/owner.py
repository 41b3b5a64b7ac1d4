"""The one task that talks on a connection: polls, commands, reconnects, safe state."""

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from ems.clock import Clock
from ems.drivers.codec import NotWritable
from ems.drivers.device import Block, Located, Step, Write
from ems.drivers.image import DeviceImage
from ems.drivers.link import (
    BadAnswer,
    Connection,
    DeviceRefusal,
    LinkDown,
    NoAnswer,
    PointWrite,
    Port,
    WriteForbidden,
)
from ems.model import Command, CommandResult, Link, Quality

log = logging.getLogger(__name__)

COMMAND_LIFE_S: Final = 0.9
"""A command not finished by then is dropped: a set-point is never delivered late."""
SILENT_AFTER: Final = 3
"""Unanswered requests in a row after which a device counts as silent."""
SILENT_RETRY_S: Final = 2.0
"""A silent unit behind a shared gateway is asked this seldom, to spare its neighbours."""
BACKOFF_FIRST_S: Final = 0.2
BACKOFF_MAX_S: Final = 5.0
SAFE_STATE_S: Final = 1.0
_TOO_LATE: Final = "dropped: too late"

Context = Mapping[str, float]
"""Values a command brings along, by the names that profiles use."""


@dataclass(frozen=True, slots=True)
class Order:
    """A command on its way: which write of the profile, with which values."""

    command: Command
    write: str
    context: Context
    element: int
    at_s: float


@dataclass(slots=True)
class _Job:
    block: Block
    due_s: float


@dataclass(slots=True)
class Member:
    """One device on a connection, with what its owner remembers about it."""

    id: str
    port: Port
    image: DeviceImage
    device_timeout_s: float
    phase: float = 0.0
    """Share of a period by which its polls are shifted against its neighbours'."""
    pending: dict[tuple[str, int], Order] = field(default_factory=dict)
    jobs: list[_Job] = field(default_factory=list)
    prepared: bool = False
    failures: int = 0
    counter: int = 0
    complaint: str = ""
    """What was logged last; empty while all is well."""
    spoiled: set[str] = field(default_factory=set)
    """Blocks whose last answer was not believed."""
    written: dict[tuple[str, int], tuple[Context, float]] = field(default_factory=dict)


class Owner:
    """Serves all devices behind one connection from one task.

    Args:
        connection: The transport; used by this task only.
        members: Devices behind it.
        clock: Monotonic time.
        report: Takes the outcome of each command.
        rng: Jitter of the back-off, so that a site's links do not retry in step.
    """

    def __init__(
        self,
        connection: Connection,
        members: list[Member],
        clock: Clock,
        report: Callable[[CommandResult], None],
        rng: random.Random,
    ) -> None:
        self.connection, self.members = connection, members
        self._clock, self._report, self._rng = clock, report, rng
        self._wake = asyncio.Event()
        self._stopping = False
        self._pause_s = BACKOFF_FIRST_S
        connection.on_lost = self._lost

    def submit(self, member: Member, order: Order) -> None:
        """Queue a command; an older one for the same actuator that has not gone is dropped."""
        if not (self.connection.connected and member.image.link is Link.UP):
            self._result(order, "the device is not connected")
            return
        key = (order.write, order.element)
        older = member.pending.pop(key, None)
        if older is not None:
            self._result(older, "replaced by a newer command before it was sent")
        member.pending[key] = order
        self._wake.set()

    def _lost(self) -> None:
        """The connection broke: nothing known over it holds any more."""
        for member in self.members:
            self._lose(member, Link.REFUSED, "connection closed by the device")
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
                await self._serve()
            except LinkDown as down:
                for member in self.members:
                    self._lose(member, down.link, str(down))
            if not self._stopping:
                await self.connection.close()
                await self._sleep(self._pause_s * self._rng.uniform(0.75, 1.25))
                self._pause_s = min(2 * self._pause_s, BACKOFF_MAX_S)
        await self._make_safe()
        await self.connection.close()

    async def _serve(self) -> None:
        """Poll and command until the connection ends."""
        for member in self.members:
            member.prepared, member.failures = False, 0
            member.jobs = []
        silent_until_s = dict.fromkeys((m.id for m in self.members), 0.0)
        while not self._stopping and self.connection.connected:
            self._wake.clear()
            now_s = self._clock.monotonic_s()
            commanded = next((m for m in self.members if m.pending and m.prepared), None)
            if commanded is not None:
                await self._carry_out(commanded)
                continue
            due_s, member = min(
                ((self._due_s(m, silent_until_s[m.id]), m) for m in self.members),
                key=lambda pair: pair[0],
            )
            if due_s > now_s:
                await self._sleep(due_s - now_s)
                continue
            if await self._attend(member):
                self._pause_s = BACKOFF_FIRST_S
            elif member.failures >= SILENT_AFTER or not member.prepared:
                self._lose(member, Link.SILENT, member.complaint or "no answer")
                silent_until_s[member.id] = self._clock.monotonic_s() + SILENT_RETRY_S
                if all(m.image.link is not Link.UP for m in self.members):
                    raise LinkDown(Link.SILENT, "no answer")

    def _due_s(self, member: Member, silent_until_s: float) -> float:
        if not member.prepared:
            return silent_until_s
        return max(silent_until_s, min(job.due_s for job in member.jobs))

    async def _attend(self, member: Member) -> bool:
        """Prepare a device or poll its most urgent block; whether it answered properly."""
        try:
            if not member.prepared:
                await self._prepare(member)
            else:
                job = min(member.jobs, key=lambda job: job.due_s)
                now_s = self._clock.monotonic_s()
                # No bursts to catch up: a poll that was missed is gone.
                job.due_s = max(job.due_s + job.block.period_s, now_s)
                await self._poll(member, job.block)
        except NoAnswer:
            member.failures += 1
            return False
        member.failures = 0
        return True

    async def _prepare(self, member: Member) -> None:
        try:
            await member.port.prepare()
            blocks = [b for b in member.port.device.blocks if await self._poll(member, b)]
            await self._hold_registers(member)
        except (BadAnswer, DeviceRefusal) as error:
            self._complain(member, str(error))
            raise NoAnswer(str(error)) from error
        now_s = self._clock.monotonic_s()
        member.jobs = [_Job(b, now_s + b.period_s * (1.0 + member.phase)) for b in blocks]
        member.written.clear()
        member.prepared = bool(blocks)
        self._content(member)

    async def _poll(self, member: Member, block: Block) -> bool:
        """Read one block into the image; whether this very device has it."""
        try:
            answer = await member.port.read(block)
        except (BadAnswer, DeviceRefusal) as error:
            member.image.spoil(block, self._clock.monotonic_s())
            member.spoiled.add(block.key)
            self._complain(member, f"block {block.key}: {error}")
            return True
        if answer is None:
            return False
        member.image.store(block, answer, self._clock.monotonic_s())
        member.spoiled.discard(block.key)
        if member.prepared:
            self._content(member)
        return True

    async def _hold_registers(self, member: Member) -> None:
        """Bring the registers of ``on_connect`` to their values, writing only what differs."""
        for step in member.port.device.conduct.on_connect:
            block = member.port.device.block_of(step.point)
            if block is None or step.value == self._seen(member, step.point):
                continue
            try:
                await member.port.write(self._writes(member, (step,), {}, 0))
                await self._poll(member, block)
            except (WriteForbidden, NotWritable, DeviceRefusal, BadAnswer) as error:
                log.warning("%s: %s stays as it is: %s", member.id, step.point, error)
                continue
            if step.value != self._seen(member, step.point):
                log.warning("%s: %s does not take the value %s", member.id, step.point, step.value)

    async def _carry_out(self, member: Member) -> None:
        key = next(iter(member.pending))
        order = member.pending.pop(key)
        spec = member.port.device.conduct.writes[order.write]
        now_s = self._clock.monotonic_s()
        left_s = order.at_s + COMMAND_LIFE_S - now_s
        if left_s <= 0.0:
            self._result(order, _TOO_LATE)
            return
        before = member.written.get(key)
        if before is not None and before[0] == order.context and now_s - before[1] < spec.repeat_s:
            self._result(order, "")
            return
        # Until this one is verified nothing is known to be in force.
        member.written.pop(key, None)
        try:
            async with asyncio.timeout(left_s):
                await member.port.write(
                    self._writes(member, spec.steps, order.context, order.element)
                )
                await self._own_heartbeat(member)
                reason = await self._verify(member, spec, order)
            member.written[key] = (order.context, now_s)
        except TimeoutError:
            reason = _TOO_LATE
        except NoAnswer as error:
            member.failures += 1
            reason = str(error)
        except LinkDown as down:
            self._result(order, str(down))
            raise
        except (BadAnswer, DeviceRefusal, WriteForbidden, NotWritable) as error:
            reason = str(error)
        self._result(order, reason)

    async def _verify(self, member: Member, spec: Write, order: Order) -> str:
        """Read back; empty when the device follows, else what it says instead."""
        point = spec.readback
        if not point:
            return ""
        block = member.port.device.block_of(point)
        if block is None or not await self._poll(member, block):
            return f"{point} cannot be read back"
        step = next(s for s in spec.steps if s.point == point)
        wanted = order.context[step.value] if isinstance(step.value, str) else step.value
        seen = self._seen(member, point)
        if seen is None:
            return f"{point} cannot be read back"
        if abs(seen - wanted) > spec.tolerance:
            return f"{point} reads back {seen:g} where {wanted:g} was written"
        return ""

    async def _own_heartbeat(self, member: Member) -> None:
        device = member.port.device
        name = device.conduct.heartbeat_write
        if name and member.port.has(device.points[name]):
            member.counter = (member.counter + 1) & 0xFFFF
            await member.port.write([PointWrite(device.points[name], member.counter)])

    async def _make_safe(self) -> None:
        for member in self.members:
            steps = member.port.device.conduct.safe_state
            if not (steps and member.prepared and self.connection.connected):
                continue
            try:
                async with asyncio.timeout(SAFE_STATE_S):
                    await member.port.write(self._writes(member, steps, {}, 0))
                log.info("%s: safe state set", member.id)
            except WriteForbidden:
                log.info("%s: left as it is, we only observed", member.id)
            except (TimeoutError, LinkDown, NoAnswer, BadAnswer, DeviceRefusal) as error:
                log.warning(
                    "%s: safe state not confirmed (%s); the device's own timeout remains",
                    member.id,
                    error or "time limit",
                )

    def _writes(
        self, member: Member, steps: tuple[Step, ...], context: Context, element: int
    ) -> list[PointWrite]:
        """Coded writes; all are coded before the first is sent.

        Raises:
            NotWritable: one of them cannot be expressed.
        """
        values = {"device_timeout_s": member.device_timeout_s, **context}
        coded = []
        for step in steps:
            point = member.port.device.points[step.point]
            value = values[step.value] if isinstance(step.value, str) else step.value
            exponent = self._exponent(member, point, value)
            coded.append(PointWrite(point, point.codec.command(value, exponent), element))
        return coded

    @staticmethod
    def _exponent(member: Member, point: Located, value: float) -> int:
        factor = point.codec.scale_factor
        if not factor or value == 0.0:
            return 0  # zero needs no scale, so the safe state needs no read before it
        if factor not in member.image.exponents:
            raise NotWritable(f"{point.codec.name}: its scale factor has not been read yet")
        return member.image.exponents[factor]

    @staticmethod
    def _seen(member: Member, point: str) -> float | None:
        reading = member.image.readings.get(point)
        if reading is None or reading.quality > Quality.UNCERTAIN:
            return None
        return reading.value

    def _lose(self, member: Member, link: Link, why: str) -> None:
        member.image.lose(link)
        member.prepared = False
        for order in member.pending.values():
            self._result(order, why)
        member.pending.clear()
        member.spoiled.clear()
        self._complain(member, why)

    def _complain(self, member: Member, why: str) -> None:
        if not member.complaint:
            log.warning("%s: %s; trying again quietly", member.id, why)
        member.complaint = member.complaint or why

    def _content(self, member: Member) -> None:
        if member.complaint and not member.spoiled:
            log.warning("%s: answers again", member.id)
            member.complaint = ""

    def _result(self, order: Order, reason: str) -> None:
        self._report(CommandResult(order.command, not reason, reason, self._clock.monotonic_s()))

    async def _sleep(self, duration_s: float) -> None:
        try:
            async with asyncio.timeout(max(0.0, duration_s)):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()
