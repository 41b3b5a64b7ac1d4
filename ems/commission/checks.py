"""The active checks of one converter and its packs, each small, guarded, and ended at rest."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from math import inf
from typing import Final

from ems.commission import judge
from ems.commission.judge import Moved
from ems.commission.person import Aborted, Person, answered
from ems.commission.record import Check, Name, Verdict
from ems.commission.rig import OPEN_BELOW_A, Rig, still_w
from ems.model import Contactor, ConverterState, SiteSnapshot
from ems.safety.strings import CLOSE_DELTA_HIGH_V, CLOSE_DELTA_V
from ems.site import SiteKind

SHARE: Final = 0.05
SMALL_W: Final = 500.0
"""Test power: a twentieth of the rating, and enough for any meter to see."""
SHARE_MAX: Final = 0.25
"""Of the rating; a tiny converter is not tested with half of what it can."""
LEAST_W: Final = 100.0
"""Below this no meter tells a discharge from noise."""
BEFORE_S: Final = 2.0
SETTLE_S: Final = 3.0
"""Latency, ramp and one poll of every device, s."""
DURING_S: Final = 3.0
KNOWN_S: Final = 30.0
"""Longest wait for a state of charge to go by, s."""
START_S: Final = 20.0
"""Longest time a converter takes from a connected pack to running, s."""
BEYOND_S: Final = 5.0
"""How much longer than promised a device is watched before we make it safe ourselves."""
ABORT: Final = "Abort with Ctrl-C: 0 W at once, then contactors as found."


class Checks:
    """Active checks through one rig.

    Args:
        rig: Drives the site.
        person: Confirms each step.
    """

    def __init__(self, rig: Rig, person: Person) -> None:
        self._rig, self._person = rig, person
        self._site = rig.site
        self.preferred: frozenset[int] = frozenset()
        """Packs of which one is connected for a check rather than another."""

    async def contactor(self, pack: int) -> Check:
        """Whether the feedback of a pack's contactor follows, at zero power."""
        name = self._site.packs[pack].id
        if reason := self._must_stay(pack):
            return Check(Name.CONTACTOR, Verdict.SKIPPED, reason)
        closed = self._rig.snapshot.packs[pack].contactor.good == Contactor.CLOSED
        moves = "opened and closed again" if closed else "closed and opened again"
        if not await self._confirm(
            f"{name}: at 0 W its contactor is {moves}; it is {'closed' if closed else 'open'} now. "
            f"Nobody may work on the pack. {ABORT}"
        ):
            return _declined(Name.CONTACTOR)
        if reason := self._must_stay(pack):
            return Check(Name.CONTACTOR, Verdict.SKIPPED, reason)
        first_s = await self._rig.move(pack, not closed)
        second_s = await self._rig.move(pack, closed) if first_s is not None else None
        return judge.contactor(*((first_s, second_s) if closed else (second_s, first_s)))

    async def sign(self, converter: int) -> Check:
        """Whether set-point, converter, BMS and meter mean the same by a small discharge."""
        return await self._powered(
            converter, Name.SIGN, f"for about {SETTLE_S + DURING_S:.0f} s", self._sign
        )

    async def timeout(self, converter: int) -> Check:
        """Whether the converter goes to 0 W by itself when we fall silent."""
        promised_s = self._site.converters[converter].device_timeout_s
        return await self._powered(
            converter,
            Name.TIMEOUT,
            f"then sends it nothing for up to {promised_s + BEYOND_S:.0f} s",
            self._timeout,
        )

    async def _powered(
        self,
        converter: int,
        name: Name,
        what: str,
        measure: Callable[[int, float], Awaitable[Check]],
    ) -> Check:
        """Ask, connect a pack, measure with power, and come back to rest whatever happens."""
        rig, spec = self._rig, self._site.converters[converter]
        power_w = min(
            max(SHARE * spec.rated_discharge_w, SMALL_W), SHARE_MAX * spec.rated_discharge_w
        )
        connect = self._to_connect(converter)
        closing = (
            f"closes the contactor of {self._site.packs[connect].id}, " if connect >= 0 else ""
        )
        if not await self._confirm(
            f"{spec.id}, {name} check: {closing}discharges {power_w:.0f} W {what}. {ABORT}"
        ):
            return _declined(name)
        try:
            await self._start(converter, connect)
            # Of cells just seen for the first time nothing is known yet, and nothing allowed.
            await rig.until(
                lambda _: 0.5 * self._allowed_w(converter) >= LEAST_W,
                KNOWN_S,
                lambda: rig.danger(converter),
            )
            power_w = min(power_w, 0.5 * self._allowed_w(converter))
            if power_w < LEAST_W:
                return Check(name, Verdict.SKIPPED, f"the packs allow only {2.0 * power_w:.0f} W")
            check = await measure(converter, power_w)
        except Aborted as aborted:
            return Check(name, Verdict.FAILED, f"ended early: {aborted}")
        finally:
            await rig.rest({} if connect < 0 else {connect: False})
        return check

    async def _start(self, converter: int, connect: int) -> None:
        rig = self._rig
        if connect >= 0 and await rig.move(connect, close=True) is None:
            raise Aborted(f"the contactor of {self._site.packs[connect].id} does not close")
        if not rig.closed(converter):
            raise Aborted("no pack is connected, and none may be")

        def runs(snapshot: SiteSnapshot) -> bool:
            return snapshot.converters[converter].state.good == ConverterState.RUN

        if await rig.until(runs, START_S, lambda: rig.danger(converter)) is None:
            raise Aborted("the converter does not start")

    async def _sign(self, converter: int, power_w: float) -> Check:
        rig, packs = self._rig, self._rig.closed(converter)
        channels: dict[str, Callable[[SiteSnapshot], float | None]] = {
            "power": lambda s: s.converters[converter].power_w.good,
            "current": lambda s: _sum([s.packs[i].current_a.good for i in packs]),
            "dc": lambda s: s.converters[converter].dc_current_a.good,
            "meter": lambda s: s.grid.power_w.good,
            "volts": lambda s: s.packs[packs[0]].voltage_v.good,
        }

        def guard() -> str:
            return rig.danger(converter)

        before = await rig.mean(channels, BEFORE_S, guard)
        rig.power_w[converter] = power_w
        await rig.until(lambda _: False, SETTLE_S, guard)
        during = await rig.mean(channels, DURING_S, guard)
        if reason := rig.refused.get(converter):
            return Check(Name.SIGN, Verdict.FAILED, f"set-point not taken: {reason}")
        volts = during["volts"]
        if not volts:
            return Check(Name.SIGN, Verdict.FAILED, "the pack voltage is not known")
        amps = power_w / volts

        def moved(what: str, unit: str, key: str, expected: float, tolerance: float) -> Moved:
            return Moved(what, unit, before[key], during[key], expected, tolerance)

        found = [
            moved("converter power", "W", "power", power_w, max(0.2 * power_w, 50.0)),
            moved("BMS current", "A", "current", amps, max(0.35 * amps, 1.0)),
            moved("meter", "W", "meter", -power_w, max(0.4 * power_w, 100.0)),
        ]
        device = rig.io.devices[self._site.converters[converter].device]
        if "dc_current_a" in device.provides:
            found.insert(2, moved("converter DC", "A", "dc", amps, max(0.35 * amps, 1.0)))
        check = judge.sign(found, power_w, rig.snapshot.converters[converter].setpoint_w.good)
        connected = [self._site.packs[i].id for i in packs]
        return replace(check, measured={**check.measured, "packs": connected})

    async def _timeout(self, converter: int, power_w: float) -> Check:
        rig, spec = self._rig, self._site.converters[converter]
        rig.power_w[converter] = power_w
        flowing_w = max(0.5 * power_w, still_w(self._site, converter))

        def flows(snapshot: SiteSnapshot) -> bool:
            return (snapshot.converters[converter].power_w.good or 0.0) > flowing_w

        def guard() -> str:
            return rig.danger(converter)

        await rig.until(flows, START_S, guard)
        rig.io.fall_silent(spec.device)
        rig.silent = converter
        last_at_s: float | None = None
        still_at_s: float | None = None

        def ended(snapshot: SiteSnapshot) -> bool:
            nonlocal last_at_s, still_at_s
            reading = snapshot.converters[converter].power_w
            if reading.good is None:
                return False
            if not rig.still(converter):
                last_at_s = reading.at_s
                return False
            still_at_s = reading.at_s
            return last_at_s is not None

        await rig.until(ended, spec.device_timeout_s + BEYOND_S, guard)
        taken_s = rig.taken_s.get(converter, inf)
        return judge.timeout(
            spec.device_timeout_s,
            None if last_at_s is None else last_at_s - taken_s,
            None if still_at_s is None or last_at_s is None else still_at_s - taken_s,
        )

    def _allowed_w(self, converter: int) -> float:
        limits = self._rig.limits
        if limits is None:
            return 0.0
        return min(float(limits.discharge_w[i]) for i in self._rig.closed(converter))

    def _to_connect(self, converter: int) -> int:
        """Pack to connect, preferred ones first, then the fullest; −1: none needed, or none can."""
        rig = self._rig
        if rig.closed(converter):
            return -1
        volts = {
            i: rig.snapshot.packs[i].voltage_v.good or 0.0
            for i in self._site.converters[converter].packs
            if not self._must_stay(i)
        }
        return max(volts, key=lambda i: (i in self.preferred, volts[i]), default=-1)

    def _must_stay(self, pack: int) -> str:
        """Why a contactor must not be moved by us now; empty when it may."""
        rig, spec = self._rig, self._site.packs[pack]
        if self._site.kind is SiteKind.DIRECT_BUS:
            return "on a direct bus the packs are the supply: the contactor is not moved"
        if "contactor" not in rig.io.devices[spec.device].writes:
            return "its BMS takes no contactor command"
        if rig.current_a(pack) > OPEN_BELOW_A:
            return f"{spec.id} is not at rest"
        own_v = rig.snapshot.packs[pack].voltage_v.good
        if own_v is None:
            return f"the voltage of {spec.id} is not known"
        step_v = CLOSE_DELTA_V if own_v <= 60.0 else CLOSE_DELTA_HIGH_V
        for other in rig.closed(int(self._site.layout.converter_of_pack[pack])):
            other_v = rig.snapshot.packs[other].voltage_v.good
            if other != pack and (other_v is None or abs(own_v - other_v) > step_v):
                return f"{self._site.packs[other].id} is on the same bus at another voltage"
        return ""

    async def _confirm(self, text: str) -> bool:
        return await self._rig.meanwhile(answered(lambda: self._person.confirm(text)))


def _declined(name: Name) -> Check:
    return Check(name, Verdict.SKIPPED, "the person did not want it")


def _sum(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None
