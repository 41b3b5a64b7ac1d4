"""The loads of the site: who is connected and what each draws."""

from dataclasses import dataclass

from ems.site import LoadSpec


@dataclass(frozen=True, slots=True)
class Demand:
    """What the connected loads would draw now, W."""

    by_load_w: tuple[float, ...]
    listed_w: float
    base_w: float
    """Rest of the site that no feeder of the site file stands for; cannot be shed."""
    critical_w: float


class LoadBank:
    """Splits the site load by ``share_frac``; the remainder is base load."""

    def __init__(self, loads: tuple[LoadSpec, ...]) -> None:
        self.loads = loads
        self.on = [True] * len(loads)
        self._base_frac = max(0.0, 1.0 - sum(load.share_frac for load in loads))
        self._last: tuple[float, list[bool]] | None = None
        self._last_demand = Demand((), 0.0, 0.0, 0.0)

    def switch(self, index: int, on: bool) -> str:
        """Connect or shed; returns why not, empty when done."""
        load = self.loads[index]
        if not load.sheddable and not on:
            return f"load {load.id} is not sheddable"
        self.on[index] = on
        return ""

    def demand(self, site_w: float) -> Demand:
        """Split of the undisturbed site load ``site_w``, W; kept while nothing changes."""
        if self._last == (site_w, self.on):
            return self._last_demand
        by_load = tuple(
            load.share_frac * site_w if on else 0.0
            for load, on in zip(self.loads, self.on, strict=True)
        )
        critical_w = sum(
            power for load, power in zip(self.loads, by_load, strict=True) if load.critical
        )
        self._last = (site_w, self.on.copy())
        self._last_demand = Demand(by_load, sum(by_load), self._base_frac * site_w, critical_w)
        return self._last_demand
