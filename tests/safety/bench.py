"""A gate under test: one cycle per step, time and readings set by the test."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache

import numpy as np

from ems.model import (
    Contactor,
    ConverterState,
    GateDecision,
    OperatorRequest,
    Quality,
    Reading,
    RequestKind,
    SetpointRequest,
    SiteEstimate,
    SiteSnapshot,
    Source,
)
from ems.safety import envelope, gate
from ems.site import Chemistry, Site, SiteKind
from tests.builders import NOMINAL_CELL_V, good, make_site, make_snapshot

Modify = Callable[[SiteSnapshot], SiteSnapshot]
START_S = 1000.0
"""Monotonic time of the first cycle: a machine has been up for a while."""


def make_estimate(site: Site, soc_frac: float = 0.6, **changes: object) -> SiteEstimate:
    """A confident estimate of packs as good as new (h = 1), all alike."""
    n, pack = site.n_packs, site.packs[0]
    cell_v = NOMINAL_CELL_V[pack.chemistry]

    def every(value: float) -> np.ndarray:
        return np.full(n, float(value))

    estimate = SiteEstimate(
        soc_frac=every(soc_frac),
        soc_sigma_frac=every(0.01),
        soc_known=np.ones(n, dtype=np.bool_),
        weakest_cell=np.zeros(n, np.int64),
        fullest_cell=np.zeros(n, np.int64),
        capacity_ah=every(pack.rated_ah * 0.9),
        soh_frac=every(0.9),
        soh_sigma_frac=every(0.01),
        resistance_ratio=every(1.0),
        resistance_ohm=every(pack.group_resistance_ohm * pack.series_cells),
        ocv_v=every(cell_v * pack.series_cells),
        ocv_cell_min_v=every(cell_v),
        ocv_cell_max_v=every(cell_v),
        group_resistance_max_ohm=every(pack.group_resistance_ohm),
        voltage_v=every(cell_v * pack.series_cells),
        current_a=every(0.0),
        soc_max_frac=every(soc_frac),
    )
    if "soc_frac" in changes:
        changes = {"soc_max_frac": changes["soc_frac"], **changes}
    return replace(estimate, **changes)  # type: ignore[arg-type]


def ask(kind: RequestKind, target: str = "", **changes: object) -> OperatorRequest:
    """An operator request with a name and a reason."""
    request = OperatorRequest(id=f"{kind}-{target}", kind=kind, actor="li", reason="test")
    return replace(request, target=target, **changes)  # type: ignore[arg-type]


class Bench:
    """One gate; ``step`` is one cycle. Copy with ``fork`` to try two futures."""

    def __init__(self, site: Site, state: gate.SafetyState | None = None) -> None:
        self.site = site
        self.state = state or gate.initial(site)
        self.estimate = make_estimate(site)
        self.now_s = START_S
        self.load_w = 1e6
        self.snapshot_options: dict[str, object] = {}
        self.decision: GateDecision | None = None

    def fork(self) -> "Bench":
        other = Bench(self.site, self.state)
        other.__dict__.update(self.__dict__)
        return other

    def snapshot(self, modify: Modify | None = None) -> SiteSnapshot:
        """The snapshot of this instant: all well, then modified."""
        snapshot = make_snapshot(self.site, self.now_s, load_w=self.load_w, **self.snapshot_options)  # type: ignore[arg-type]
        return modify(snapshot) if modify else snapshot

    def step(
        self,
        modify: Modify | None = None,
        *requests: OperatorRequest,
        power_w: float | Iterable[float] = 0.0,
        dt_s: float | None = None,
    ) -> GateDecision:
        """Advance one cycle (or ``dt_s``) and decide."""
        site = self.site
        self.now_s += site.cycle_s if dt_s is None else dt_s
        snapshot = replace(self.snapshot(modify), requests=requests)
        limits = envelope.limits(self.estimate, snapshot, gate.standing(self.state), site)
        wanted = np.broadcast_to(np.asarray(power_w, float), len(site.converters)).copy()
        request = SetpointRequest(
            wanted, (True,) * len(site.loads), Source.PLAN, "test", 0.0, 0.0, 1, 0.0
        )
        self.state, self.decision = gate.decide(
            self.state, snapshot, self.estimate, limits, request, site
        )
        return self.decision

    def steps(self, count: int, modify: Modify | None = None, **options: object) -> GateDecision:
        """Several equal cycles; the last decision."""
        for _ in range(count):
            decision = self.step(modify, **options)  # type: ignore[arg-type]
        return decision

    def wait(self, seconds: float, modify: Modify | None = None) -> GateDecision:
        """Let time pass in ten strides: slow sources are sampled as rarely as that.

        Every stride counts as one sample of a slow poll class; the first, after the
        usual interval, counts for that interval only.
        """
        self.step(modify)
        return self.steps(11, modify, dt_s=seconds / 10)

    def level(self, cause: str, pack: int | None = 0) -> int:
        """Level at which a row stands, 0 when it does not."""
        assert self.decision is not None
        levels = [
            c.level for c in self.decision.causes if c.cause == cause and c.pack in (pack, None)
        ]
        return max(levels, default=0)


@cache
def _running(kind: SiteKind, n_packs: int, chemistry: Chemistry, series_cells: int) -> Bench:
    bench = Bench(make_site(kind, n_packs, chemistry, series_cells))
    bench.steps(12)
    bench.step(None, ask(RequestKind.ARM))
    # Beyond the time in which a former owner's command may still be obeyed.
    decision = bench.steps(20)
    assert decision.mode == "run"
    return bench


def running(
    kind: SiteKind = SiteKind.OWN_CONVERTERS,
    n_packs: int = 1,
    chemistry: Chemistry = Chemistry.LFP,
    series_cells: int = 16,
) -> Bench:
    """A bench whose site is armed and in RUN with every string closed."""
    return _running(kind, n_packs, chemistry, series_cells).fork()


def cell_v(volts: float, pack: int = 0, cell: int = 2) -> Modify:
    """One cell of one pack at a voltage."""

    def modify(snapshot: SiteSnapshot) -> SiteSnapshot:
        value = snapshot.cells.voltage_v.copy()
        per_pack = len(value) // len(snapshot.packs)
        value[pack * per_pack + cell] = volts
        return replace(snapshot, cells=replace(snapshot.cells, voltage_v=value))

    return modify


def temp_c(celsius: float, pack: int = 0, sensor: int = 1) -> Modify:
    """One sensor of one pack at a temperature."""

    def modify(snapshot: SiteSnapshot) -> SiteSnapshot:
        value = snapshot.cells.temp_c.copy()
        per_pack = len(value) // len(snapshot.packs)
        value[pack * per_pack + sensor] = celsius
        return replace(snapshot, cells=replace(snapshot.cells, temp_c=value))

    return modify


def lost_temps(count: int, pack: int = 0) -> Modify:
    """The first sensors of a pack out of range."""

    def modify(snapshot: SiteSnapshot) -> SiteSnapshot:
        quality = snapshot.cells.temp_quality.copy()
        per_pack = len(quality) // len(snapshot.packs)
        quality[pack * per_pack : pack * per_pack + count] = Quality.BAD
        return replace(snapshot, cells=replace(snapshot.cells, temp_quality=quality))

    return modify


def lost_cell(pack: int = 0, cell: int = 0) -> Modify:
    """One cell voltage unknown."""

    def modify(snapshot: SiteSnapshot) -> SiteSnapshot:
        quality = snapshot.cells.voltage_quality.copy()
        quality[pack * (len(quality) // len(snapshot.packs)) + cell] = Quality.BAD
        return replace(snapshot, cells=replace(snapshot.cells, voltage_quality=quality))

    return modify


def pack(index: int = 0, **changes: object) -> Modify:
    """Readings of one pack replaced; plain numbers become fresh good readings."""

    def modify(snapshot: SiteSnapshot) -> SiteSnapshot:
        fresh = {
            name: good(float(value), snapshot.now_s)
            if isinstance(value, float | Contactor)
            else value
            for name, value in changes.items()
        }
        packs = list(snapshot.packs)
        packs[index] = replace(packs[index], **fresh)  # type: ignore[arg-type]
        return replace(snapshot, packs=tuple(packs))

    return modify


def converter(index: int = 0, **changes: object) -> Modify:
    """Readings of one converter replaced."""

    def modify(snapshot: SiteSnapshot) -> SiteSnapshot:
        fresh = {
            name: good(float(value), snapshot.now_s)
            if isinstance(value, float | ConverterState)
            else value
            for name, value in changes.items()
        }
        converters = list(snapshot.converters)
        converters[index] = replace(converters[index], **fresh)  # type: ignore[arg-type]
        return replace(snapshot, converters=tuple(converters))

    return modify


def grid(**changes: object) -> Modify:
    """Readings of the meter replaced."""

    def modify(snapshot: SiteSnapshot) -> SiteSnapshot:
        fresh = {
            name: good(value, snapshot.now_s) if isinstance(value, float) else value
            for name, value in changes.items()
        }
        return replace(snapshot, grid=replace(snapshot.grid, **fresh))  # type: ignore[arg-type]

    return modify


def both(*parts: Modify) -> Modify:
    """Several changes at once."""

    def modify(snapshot: SiteSnapshot) -> SiteSnapshot:
        for part in parts:
            snapshot = part(snapshot)
        return snapshot

    return modify


def stuck_pack(bench: Bench, index: int = 0) -> Modify:
    """A BMS whose last answer, from now on, is repeated with its old time."""
    last = bench.snapshot().packs[index]
    return pack(index, **{name: getattr(last, name) for name in last.__slots__})


def stuck_converter(bench: Bench, index: int = 0) -> Modify:
    """A converter whose last answer is repeated with its old time."""
    last = bench.snapshot().converters[index]
    return converter(index, **{name: getattr(last, name) for name in last.__slots__})


MISSING = Reading(None, 0.0, Quality.MISSING)
