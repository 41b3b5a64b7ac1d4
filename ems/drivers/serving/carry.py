"""Carrying out one command: may it be, is it sent in order, did the device take it.

A write counts as done only when the device shows it back (where its profile says
where) and, some time later, when its effect can be measured.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from itertools import pairwise
from typing import Final

from ems.clock import Clock
from ems.drivers.coding.block import Block
from ems.drivers.coding.codec import NotWritable
from ems.drivers.link import BadAnswer, DeviceRefusal, WriteForbidden
from ems.drivers.rules import Step, WriteRules
from ems.drivers.serving.member import POWER_WRITES, Expectation, Member, Order
from ems.model import Contactor

log = logging.getLogger(__name__)

COMMAND_LIFE_S: Final = 0.9
"""A command not finished by then is dropped: a set-point is never delivered late."""
TOO_LATE: Final = "dropped: too late"
CONTACTOR: Final = "contactor"
"""The write, the value it brings along, and the point that shows it."""
OPEN_AGAIN_S: Final = 10.0
"""A contactor seen closed after it was told to open is told again after this time at most."""
_SHUT: Final = (Contactor.CLOSED, Contactor.PRECHARGE)
_SWITCHES: Final = (CONTACTOR, "load")
_LOOK_AGAIN_S: Final = 0.1
"""Pause between looks at a command that the device itself clears."""

Poll = Callable[[Member, Block], Awaitable[bool]]


def _is_opening(order: Order) -> bool:
    return order.write == CONTACTOR and order.context.get(CONTACTOR) == Contactor.OPEN


class Refused(Exception):
    """The command is not carried out, or not known to be; says why."""


class Carrier:
    """Writes for the devices of one connection.

    Args:
        clock: Monotonic time.
        poll: Reads one block of a device into its image.
        spent: Called after a write to memory that wears out.
    """

    def __init__(self, clock: Clock, poll: Poll, spent: Callable[[], None]) -> None:
        self._clock, self._poll, self._spent = clock, poll, spent

    async def carry_out(self, member: Member, order: Order) -> str:
        """Why the command is not in force; empty when it is.

        Raises:
            LinkDown, NoAnswer: the connection or the device is gone.
        """
        rules = member.port.device.writes[order.write]
        now_s = self._clock.monotonic_s()
        left_s = order.at_s + COMMAND_LIFE_S - now_s
        if left_s <= 0.0:
            return TOO_LATE
        if self._in_force(member, rules, order, now_s):
            return ""
        # Until this one is verified nothing is known to be in force.
        member.written.pop(order.key, None)
        try:
            self._admit(member, rules, order, now_s)
            async with asyncio.timeout(left_s):
                await self._steps(member, rules, order)
                await self._read_back(member, rules, order)
        except TimeoutError:
            return TOO_LATE
        except (Refused, BadAnswer, DeviceRefusal, WriteForbidden, NotWritable) as error:
            return str(error)
        member.written[order.key] = (order.context, now_s)
        self._expect(member, rules, order)
        return ""

    def unmet(self, member: Member) -> Iterator[tuple[Order, str]]:
        """Confirmed commands whose measured effect is missing; each is told once."""
        now_s = self._clock.monotonic_s()
        for expected in member.expected.values():
            effect = expected.effect
            seen = member.seen(effect.point, now_s)
            if seen is None:
                continue
            if abs(seen - expected.wanted) <= effect.tolerance:
                expected.since_s, expected.told = now_s, False
            elif now_s - expected.since_s > effect.within_s and not expected.told:
                expected.told = True
                yield (
                    expected.order,
                    f"{effect.point} is {seen:g}, {effect.within_s:g} s after "
                    f"{expected.wanted:g} was commanded and confirmed",
                )

    async def hold(self, member: Member, steps: tuple[Step, ...]) -> None:
        """Bring points to their values, writing only what differs."""
        for step in steps:
            try:
                problem = await self.set_point(member, step)
            except WriteForbidden as error:
                member.withheld[step.point] = None
                log.info("%s: %s stays as it is: %s", member.id, step.point, error)
                continue
            if problem:
                log.warning("%s: %s", member.id, problem)

    async def set_point(self, member: Member, step: Step) -> str:
        """Write one point where it differs and read it again; why it does not hold, or empty.

        Raises:
            WriteForbidden: we only observe.
            LinkDown, NoAnswer: the connection or the device is gone.
        """
        block = member.port.device.block_of(step.point)
        if block is None:
            return f"{step.point} cannot be read"
        try:
            wanted = member.told(step.point, member.value_of(step, {}))
            if wanted == self._seen(member, step.point):
                return ""
            await member.port.write(member.coded((step,), {}, 0))
            await self._poll(member, block)
        except (BadAnswer, DeviceRefusal, NotWritable) as error:
            return f"{step.point} stays as it is: {error}"
        if wanted != self._seen(member, step.point):
            return f"{step.point} does not take the value {step.value}"
        return ""

    def _seen(self, member: Member, point: str) -> float | None:
        return member.seen(point, self._clock.monotonic_s())

    def _in_force(self, member: Member, rules: WriteRules, order: Order, now_s: float) -> bool:
        """Whether the device was told the same before and need not be told again."""
        before = member.written.get(order.key)
        if before is None or before[0] != order.context:
            return False
        repeat_s = rules.repeat_s
        if _is_opening(order) and self._seen(member, CONTACTOR) in _SHUT:
            repeat_s = min(repeat_s, OPEN_AGAIN_S)
        if now_s - before[1] < repeat_s:
            return True
        # A switch is asked for only while it is not where it should be.
        if rules.daily_budget is None or order.write in _SWITCHES:
            return False
        # Memory that wears out is not written while the device shows what it was told.
        if rules.readback is None:
            return True
        seen = self._seen(member, rules.readback.point)
        wanted = self._wanted(member, rules, order)
        return seen is None or abs(seen - wanted) <= rules.readback.tolerance

    def _admit(self, member: Member, rules: WriteRules, order: Order, now_s: float) -> None:
        """Everything that must hold before the first byte is sent.

        Raises:
            Refused: it does not; says which.
        """
        if member.foreign:
            raise Refused(f"identity: {member.foreign}")
        # Nothing stands in the way of less power: neither a condition nor a worn memory.
        safe = _is_opening(order) or self._towards_safe_state(member, rules, order)
        if member.no_dead_man and order.write in POWER_WRITES and not safe:
            raise Refused(f"device timeout: {member.no_dead_man}")
        for precondition in rules.requires:
            problem = precondition.problem(member.seen(precondition.point, now_s))
            if problem and not safe:
                raise Refused(problem)
        new = {step.point: member.value_of(step, order.context) for step in rules.steps}
        for chain in rules.descending:
            self._check_order(member, chain, new, now_s)
        if rules.daily_budget is not None and not safe:
            spent = member.budget.spent(order.write, now_s)
            if spent + len(rules.steps) > rules.daily_budget:
                raise Refused(
                    f"{order.write}: {spent} of {rules.daily_budget} writes that its memory "
                    "stands in 24 h are used up"
                )

    @staticmethod
    def _check_order(
        member: Member, chain: tuple[str, ...], new: dict[str, float], now_s: float
    ) -> None:
        values = [(p, new[p] if p in new else member.seen(p, now_s)) for p in chain]
        for (above, high), (below, low) in pairwise(values):
            if above not in new and below not in new:
                continue
            if high is None or low is None:
                raise Refused(f"{above if high is None else below} is unknown, {below} needs it")
            if high < low:
                raise Refused(f"{above} would be {high:g}, below {below} with {low:g}")

    @staticmethod
    def _towards_safe_state(member: Member, rules: WriteRules, order: Order) -> bool:
        """Whether a command writes nothing but values of the safe state."""
        safe = {step.point: step.value for step in member.port.device.safe_state}
        values = {step.point: member.value_of(step, order.context) for step in rules.steps}
        return bool(safe) and all(safe.get(point) == value for point, value in values.items())

    async def _steps(self, member: Member, rules: WriteRules, order: Order) -> None:
        """Send the steps; those without a pause between them may travel together."""
        port = member.port
        coded = member.coded(rules.steps, order.context, order.element)
        group = []
        for step, write in zip(rules.steps, coded, strict=True):
            group.append(write)
            if step is rules.steps[-1] or step.pause_s or step.clears_within_s:
                if rules.daily_budget is not None:
                    # Booked before it is sent: a write that is not confirmed wears too.
                    member.budget.spend(order.write, len(group), self._clock.monotonic_s())
                    self._spent()
                await port.write(group)
                group = []
            if step.pause_s:
                await asyncio.sleep(step.pause_s)
            if step.clears_within_s:
                await self._await_clear(member, step)

    async def _await_clear(self, member: Member, step: Step) -> None:
        block = member.port.device.block_of(step.point)
        if block is None:
            raise Refused(f"{step.point} cannot be read, so nobody knows whether it worked")
        until_s = self._clock.monotonic_s() + step.clears_within_s
        while True:
            await self._poll(member, block)
            seen = self._seen(member, step.point)
            if seen == 0.0:
                return
            if self._clock.monotonic_s() >= until_s:
                shown = "unknown" if seen is None else f"{seen:g}"
                raise Refused(
                    f"{step.point} is {shown} where the device should have cleared it "
                    f"within {step.clears_within_s:g} s"
                )
            await asyncio.sleep(_LOOK_AGAIN_S)

    async def _read_back(self, member: Member, rules: WriteRules, order: Order) -> None:
        """Compare with what the device shows.

        Raises:
            Refused: it shows something else, or nothing.
        """
        if rules.readback is None:
            return
        point = rules.readback.point
        block = member.port.device.block_of(point)
        if rules.readback.delay_s:
            await asyncio.sleep(rules.readback.delay_s)
        if block is None or not await self._poll(member, block):
            raise Refused(f"{point} cannot be read back")
        wanted = self._wanted(member, rules, order)
        seen = self._seen(member, point)
        if seen is None:
            raise Refused(f"{point} cannot be read back")
        if abs(seen - wanted) > rules.readback.tolerance:
            raise Refused(f"{point} reads back {seen:g} where {wanted:g} was written")

    @staticmethod
    def _wanted(member: Member, rules: WriteRules, order: Order) -> float:
        """What the point that confirms a command must show."""
        assert rules.readback is not None
        step = next((s for s in rules.steps if s.point == rules.readback.point), None) or next(
            s for s in rules.steps if isinstance(s.value, str)
        )
        return member.told(step.point, member.value_of(step, order.context))

    def _expect(self, member: Member, rules: WriteRules, order: Order) -> None:
        effect = rules.effect
        if effect is None:
            return
        commanded = next((s for s in rules.steps if isinstance(s.value, str)), rules.steps[-1])
        wanted = order.context.get(effect.point, member.value_of(commanded, order.context))
        known = member.expected.get(order.key)
        if known is not None and abs(known.wanted - wanted) <= effect.tolerance:
            known.wanted, known.order = wanted, order
        else:
            now_s = self._clock.monotonic_s()
            member.expected[order.key] = Expectation(effect, wanted, now_s, order)
