"""What is done with a device when it comes, and when we leave it.

Before anything is expected of a device or asked of it: what does it have, is it the
one its profile describes, are its settings right, and would it be safe without us.
"""

import asyncio
import logging
import math
from collections.abc import Sequence
from typing import Final

from ems.clock import Clock
from ems.drivers.link import (
    BadAnswer,
    Connection,
    DeviceRefusal,
    LinkDown,
    NoAnswer,
    WriteForbidden,
)
from ems.drivers.rules import Step
from ems.drivers.serving.carry import Carrier, Poll
from ems.drivers.serving.member import Member
from ems.drivers.serving.schedule import Job

log = logging.getLogger(__name__)

SAFE_STATE_S: Final = 1.0
"""Longest time that bringing one device to its safe state may take."""


class Arrival:
    """Takes the devices of one connection into service.

    Args:
        clock: Monotonic time.
        poll: Reads one block of a device into its image; whether the device has it.
        carrier: Writes what has to hold.
    """

    def __init__(self, clock: Clock, poll: Poll, carrier: Carrier) -> None:
        self._clock, self._poll, self._carrier = clock, poll, carrier

    async def prepare(self, member: Member) -> None:
        """Learn what the device is, and hold its settings.

        Raises:
            NoAnswer: it does not answer, or not as its profile says.
            LinkDown: the connection is gone.
        """
        device = member.port.device
        if device.identity:
            member.image.distrusted = "not identified yet"
        try:
            await member.port.prepare()
            blocks = [block for block in device.blocks if await self._poll(member, block)]
        except (BadAnswer, DeviceRefusal) as error:
            if member.complaint != str(error):
                member.complaint = ""  # it answers now; that it did not before is old news
            member.complain(str(error))
            raise NoAnswer(str(error)) from error
        member.prepared = False
        identify(member)
        if not member.foreign:
            await self._carrier.hold(member, device.on_connect)
            await self._check_dead_man(member)
        now_s = self._clock.monotonic_s()
        member.jobs = [
            Job(block, now_s + block.period_s * (1.0 + member.phase))
            for block in blocks
            if math.isfinite(block.period_s)
        ]
        member.written.clear()
        member.expected.clear()
        member.prepared = bool(blocks)
        beat = device.heartbeat_write
        beats = (
            beat is not None and not member.foreign and member.port.has(device.points[beat.point])
        )
        member.beat_due_s = now_s if beats else math.inf
        member.content()

    async def _check_dead_man(self, member: Member) -> None:
        """Hold the device's own timeout against what the site relies on."""
        rule = member.port.device.timeout
        member.no_dead_man = ""
        if rule is None or not member.port.has(member.port.device.points[rule.point]):
            return
        expected_s = member.device_timeout_s if rule.expected_s is None else rule.expected_s
        problem = ""
        if rule.enforce:
            try:
                problem = await self._carrier.set_point(member, Step(rule.point, expected_s))
            except WriteForbidden:
                member.withheld[f"{rule.point} (time-out)"] = None
                return  # whatever it is: nothing will be commanded
        seen_s = member.seen(rule.point, self._clock.monotonic_s())
        if seen_s is None:
            problem = problem or f"{rule.point} cannot be read"
        elif 0.0 < seen_s <= expected_s:
            return
        else:
            problem = problem or f"{rule.point} is {seen_s:g} s, expected {expected_s:g} s"
        member.no_dead_man = problem
        log.warning("%s: no power commands: %s", member.id, problem)


def identify(member: Member) -> None:
    """Hold the device against the signature of its profile."""
    claimed = member.image.claimed
    problems = [check.problem(claimed(check.point)) for check in member.port.device.identity]
    found = "; ".join(filter(None, problems))
    member.image.distrusted = found
    if found and not member.foreign:
        log.error("%s: not the device its profile describes: %s", member.id, found)
    elif member.foreign and not found:
        log.warning("%s: is the device its profile describes", member.id)
        member.prepared = False  # what is checked at connecting is still to be done
    member.foreign = found


async def leave(members: Sequence[Member], connection: Connection) -> None:
    """Bring every device to its safe state, as far as it can still be reached."""
    for member in members:
        steps = member.port.device.safe_state
        if not (steps and member.prepared and connection.connected):
            continue
        if member.foreign:
            log.warning("%s: left as it is, it is another device", member.id)
            continue
        try:
            async with asyncio.timeout(SAFE_STATE_S):
                await member.port.write(member.coded(steps, {}, 0))
            log.info("%s: safe state set", member.id)
        except WriteForbidden:
            names = dict.fromkeys(step.point for step in steps)
            member.withheld[f"{', '.join(names)} (safe state)"] = None
            log.info("%s: left as it is, we only observed", member.id)
        except (TimeoutError, LinkDown, NoAnswer, BadAnswer, DeviceRefusal) as error:
            log.warning(
                "%s: safe state not confirmed (%s); the device's own timeout remains",
                member.id,
                error or "time limit",
            )
