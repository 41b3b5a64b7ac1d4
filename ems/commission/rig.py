"""Holds the site at rest, second after second, except for what one check asks of it.

Everything goes through the drivers that the controller uses: writes are verified, and
every set-point is a lease that the device lets go of when we fall silent.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Final, TypeVar

from ems.clock import Clock
from ems.commission.person import Aborted
from ems.drivers.field import FieldIO
from ems.health import initial, update
from ems.model import (
    Command,
    CommandResult,
    Contactor,
    ConverterState,
    Limits,
    Link,
    SetContactor,
    SetPower,
    SiteSnapshot,
)
from ems.safety import envelope, gate
from ems.site import Site

log = logging.getLogger(__name__)

TICK_S: Final = 0.25
"""Pause between two looks at the site."""
SEND_S: Final = 1.0
"""Pause between two renewals of the set-points."""
ALARM_MAX: Final = 1.0
"""A BMS that asks for less power is not tested with more."""
GRID_BAND: Final = 0.15
"""Largest deviation of the grid voltage from nominal while power flows."""
OPEN_BELOW_A: Final = 1.0
"""A contactor is only moved below this current, A."""
REST_S: Final = 5.0
"""Longest wait for zero power at the end, s."""
CONTACTOR_S: Final = 30.0
"""Longest time a contactor may take, precharge included, s."""
_Result = TypeVar("_Result")


class Rig:
    """Drives one site for the checks.

    Args:
        site: The compiled site.
        io: Its devices, started.
        clock: Time.
    """

    def __init__(self, site: Site, io: FieldIO, clock: Clock) -> None:
        self.site, self.io, self.clock = site, io, clock
        self.power_w = {k: 0.0 for k, c in enumerate(site.converters) if c.rectifier is None}
        """Set-point of each converter; of a rectifier shelf nothing is ever asked."""
        self.silent: int | None = None
        """Converter that gets no commands."""
        self.taken_s: dict[int, float] = {}
        """When each converter took its last set-point."""
        self.refused: dict[int, str] = {}
        """Why each converter did not take its last one; empty when it did."""
        self.limits: Limits | None = None
        self.snapshot = self._look()
        self._contactor: dict[int, bool] = {}
        self._health = initial(site)
        self._standing = gate.standing(gate.initial(site))
        self._due_s = self._send_at_s = clock.monotonic_s()

    async def step(self) -> SiteSnapshot:
        """Wait for the next look, take it, and renew what is commanded."""
        await self.clock.sleep_until_s(self._due_s)
        now_s = self.clock.monotonic_s()
        self._due_s = max(self._due_s + TICK_S, now_s)
        self.snapshot = found = self._look()
        for result in found.results:
            self._note(result)
        if now_s >= self._send_at_s:
            self._send_at_s = now_s + SEND_S
            self._health, estimate = update(self._health, found, self.site)
            self.limits = envelope.limits(estimate, found, self._standing, self.site)
            self.io.send(tuple(self._commands()))
        return found

    async def meanwhile(self, awaitable: Awaitable[_Result]) -> _Result:
        """Hold the site while something else takes its time."""
        task = asyncio.ensure_future(awaitable)
        try:
            while not task.done():
                await self.step()
        finally:
            task.cancel()
        return task.result()

    async def until(
        self,
        holds: Callable[[SiteSnapshot], bool],
        limit_s: float,
        guard: Callable[[], str] = lambda: "",
    ) -> float | None:
        """Seconds until a condition held; ``None`` when it did not in time.

        Raises:
            Aborted: the guard found a reason.
        """
        began_s = self.clock.monotonic_s()
        while self.clock.monotonic_s() - began_s < limit_s:
            found = await self.step()
            if reason := guard():
                raise Aborted(reason)
            if holds(found):
                return self.clock.monotonic_s() - began_s
        return None

    async def mean(
        self,
        channels: dict[str, Callable[[SiteSnapshot], float | None]],
        duration_s: float,
        guard: Callable[[], str] = lambda: "",
    ) -> dict[str, float | None]:
        """Mean of each channel over a while; ``None`` where a value was missing."""
        seen: dict[str, list[float | None]] = {name: [] for name in channels}

        def note(snapshot: SiteSnapshot) -> bool:
            for name, value in channels.items():
                seen[name].append(value(snapshot))
            return False

        await self.until(note, duration_s, guard)
        return {name: _mean(values) for name, values in seen.items()}

    def closed(self, converter: int) -> list[int]:
        """Packs behind a converter that are connected."""
        packs = self.site.converters[converter].packs
        return [i for i in packs if self.snapshot.packs[i].contactor.good == Contactor.CLOSED]

    def danger(self, converter: int) -> str:
        """Why no power may flow through a converter now; empty when it may."""
        spec, seen = self.site.converters[converter], self.snapshot.converters[converter]
        if seen.link is not Link.UP:
            return f"{spec.id} does not answer"
        if seen.state.good in (ConverterState.FAULT, ConverterState.ISLAND):
            return f"{spec.id} is in {ConverterState(int(seen.state.good)).name.lower()}"
        volts, nominal_v = self.snapshot.grid.voltage_v.good, self.site.grid.nominal_v
        if volts is not None and abs(volts / nominal_v - 1.0) > GRID_BAND:
            return f"grid voltage is {volts:.0f} V"
        for i in self.closed(converter):
            pack, name = self.snapshot.packs[i], self.site.packs[i].id
            if pack.link is not Link.UP:
                return f"the BMS of {name} does not answer"
            alarm = pack.alarm_level.good
            if alarm is None or alarm > ALARM_MAX:
                return f"alarm level of {name} is {'unknown' if alarm is None else int(alarm)}"
            wanted_w = max(0.0, self.power_w.get(converter, 0.0))
            if self.limits is not None and self.limits.discharge_w[i] < wanted_w:
                return f"{name} may give {self.limits.discharge_w[i]:.0f} W: " + (
                    self.limits.discharge_reason[i] or "its limit"
                )
        return ""

    async def move(self, pack: int, close: bool) -> float | None:
        """Seconds a contactor took; ``None`` when it did not arrive in time."""
        self._contactor[pack] = close
        wanted = Contactor.CLOSED if close else Contactor.OPEN
        try:
            return await self.until(lambda s: s.packs[pack].contactor.good == wanted, CONTACTOR_S)
        finally:
            self._contactor.pop(pack, None)

    async def rest(self, contactors: dict[int, bool]) -> None:
        """Zero power everywhere; then contactors as given, where that can be done at rest."""
        self.silent = None
        for converter in self.power_w:
            self.power_w[converter] = 0.0
            self.io.speak_again(self.site.converters[converter].device)
        self._send_at_s = 0.0
        await self.until(lambda _: all(map(self.still, self.power_w)), REST_S)
        for pack, close in contactors.items():
            state = self.snapshot.packs[pack].contactor.good
            if state not in (None, Contactor.CLOSED if close else Contactor.OPEN):
                # The BMS is read less often than the converter: its current comes down later.
                if not close and await self.until(partial(self._unloaded, pack), REST_S) is None:
                    log.error(
                        "contactor of %s stays closed: it still carries more than %g A",
                        self.site.packs[pack].id,
                        OPEN_BELOW_A,
                    )
                    continue  # the BMS breaks it when it must; we do not, under load
                if await self.move(pack, close) is None:
                    log.error("contactor of %s is not as found", self.site.packs[pack].id)

    def still(self, converter: int) -> bool:
        """Whether a converter carries next to nothing; one that is not heard counts as still."""
        power_w = self.snapshot.converters[converter].power_w.good
        return power_w is None or abs(power_w) <= still_w(self.site, converter)

    def current_a(self, pack: int) -> float:
        """Size of a pack's current, A; infinite when unknown."""
        current_a = self.snapshot.packs[pack].current_a.good
        return float("inf") if current_a is None else abs(current_a)

    def _unloaded(self, pack: int, _: SiteSnapshot) -> bool:
        return self.current_a(pack) <= OPEN_BELOW_A

    def _look(self) -> SiteSnapshot:
        return self.io.snapshot(self.clock.monotonic_s(), self.clock.now_utc(), True, 0.0, ())

    def _commands(self) -> Iterator[Command]:
        for converter, power_w in self.power_w.items():
            if converter != self.silent:
                yield SetPower(converter, power_w)
        for pack, close in self._contactor.items():
            wanted = Contactor.CLOSED if close else Contactor.OPEN
            if self.snapshot.packs[pack].contactor.good != wanted:
                yield SetContactor(pack, close)

    def _note(self, result: CommandResult) -> None:
        if isinstance(result.command, SetPower):
            converter = result.command.converter
            self.refused[converter] = result.reason
            if result.ok:
                self.taken_s[converter] = result.at_s


def still_w(site: Site, converter: int) -> float:
    """Power that counts as none, W: standby and the last digit of a meter."""
    spec = site.converters[converter]
    return max(50.0, 2.0 * spec.standby_w, 0.01 * spec.rated_discharge_w)


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if values and len(known) == len(values) else None
