"""Random sites in random states of age, temperature, load and topology."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

import numpy as np

from ems.health import ocv
from ems.site import (
    BackupSpec,
    Chemistry,
    ConverterSpec,
    DeviceSpec,
    GridSpec,
    LoadSpec,
    PackSpec,
    RectifierSpec,
    SafetySpec,
    SimPack,
    SimSpec,
    Site,
    SiteKind,
)
from sim.chemistry import NEW_SOH_R_SLOPE

CYCLE_S: Final = 10.0
CONFIDENCE: Final = 0.95
NEW_OHM_AH: Final = {
    Chemistry.LFP: 0.10,
    Chemistry.NMC: 0.08,
    Chemistry.LMO: 0.067,
    Chemistry.LTO: 0.04,
}
"""10 s resistance of a new group times its Ah: 0.10 is 1 mohm at 100 Ah. LMO measured on a
Leaf cell, the others typical."""


@dataclass(frozen=True, slots=True)
class PackDraw:
    """Truth about one pack."""

    rated_ah: float
    truth: SimPack
    intake_error: float
    """Error of SoH at intake, in sigma."""


@dataclass(frozen=True, slots=True)
class State:
    """One draw."""

    seed: int
    kind: SiteKind
    chemistry: Chemistry
    series_cells: int
    packs: tuple[PackDraw, ...]
    ambient_c: float
    rating_c: float
    """Converter rating / capacity, 1/h."""
    efficiency: float
    standby_frac: float
    """Standby / converter rating."""
    load_frac: float
    """Critical load / power that the envelope allows at the start."""
    lvd_cell_v: float
    soc_sigma: float
    soh_sigma: float


def draw(rng: np.random.Generator) -> State:
    """The next state."""
    kind = list(SiteKind)[int(rng.integers(3))]
    direct = kind is SiteKind.DIRECT_BUS
    chemistry = Chemistry.LFP if direct else list(Chemistry)[int(rng.integers(4))]
    soc = rng.uniform(0.4, 0.95)
    own = kind is SiteKind.OWN_CONVERTERS
    packs = tuple(_pack(rng, soc, own) for _ in range(int(rng.integers(1, 7))))
    return State(
        seed=int(rng.integers(1 << 31)),
        kind=kind,
        chemistry=chemistry,
        series_cells=16 if direct else int(rng.integers(14, 97)),
        packs=packs,
        ambient_c=float(rng.uniform(-12.0, 38.0)),
        rating_c=float(rng.uniform(0.3, 0.6)),
        efficiency=float(rng.uniform(0.93, 0.975)),
        standby_frac=float(rng.uniform(0.002, 0.01)),
        load_frac=float(rng.uniform(0.1, 0.9 if own else 0.6)),
        lvd_cell_v=float(rng.uniform(2.65, 2.95)),
        soc_sigma=float(rng.uniform(0.005, 0.04)),
        soh_sigma=float(rng.uniform(0.01, 0.03)),
    )


def _pack(rng: np.random.Generator, soc: float, own: bool) -> PackDraw:
    """Packs on one bus lie close together; those behind converters need not."""
    mean = float(rng.uniform(0.66, 0.95))
    tired = int(rng.integers(14)) if rng.random() < 0.6 else None
    tired_soh = mean - float(rng.uniform(0.03, 0.10))
    ratio = (1.0 + NEW_SOH_R_SLOPE * (1.0 - tired_soh)) * float(rng.uniform(1.0, 1.4))
    start = float(np.clip(soc + rng.normal(0.0, 0.06 if own else 0.02), 0.3, 0.97))
    spread = float(rng.uniform(0.005, 0.02))
    truth = SimPack(mean, spread, tired, tired_soh, ratio, start)
    rated_ah = float(rng.uniform(50.0, 200.0)) if own else 100.0
    return PackDraw(rated_ah, truth, float(rng.normal()))


def make(state: State) -> Site:
    """The site of a state; its critical load is set when the envelope is known."""
    cell_v = float(ocv.ocv_v(state.chemistry, 0.5))
    packs = tuple(_spec(state, k, pack) for k, pack in enumerate(state.packs))
    own = state.kind is SiteKind.OWN_CONVERTERS
    groups = [(k,) for k in range(len(packs))] if own else [tuple(range(len(packs)))]
    converters = tuple(_converter(state, packs, k, g, cell_v) for k, g in enumerate(groups))
    names = [p.device for p in packs] + [c.device for c in converters] + ["meter"]
    load_w = 0.2 * sum(c.rated_discharge_w for c in converters)
    return Site(
        id="backup-state",
        name_en="Backup state",
        name_zh="后备状态",
        timezone="Asia/Shanghai",
        kind=state.kind,
        cycle_s=CYCLE_S,
        packs=packs,
        converters=converters,
        loads=(LoadSpec("critical", "Critical feeder", True, False, 0, load_w, None, 1.0),),
        grid=GridSpec("meter", 230.0, 50.0, 1e6, 0.0, 900.0, Path("no-tariff.yaml")),
        pv=None,
        backup=BackupSpec(1.0, load_w, CONFIDENCE, None),
        devices={n: DeviceSpec(n, "simulated", "modbus_tcp", "host", 502, 1, "") for n in names},
        safety=SafetySpec(),
        uplink=None,
        data_dir=Path("out"),
        metrics_port=0,
        sim=SimSpec(state.ambient_c, 0.0, load_w, tuple(p.truth for p in state.packs)),
        source_sha256="0" * 64,
    )


def _spec(state: State, index: int, pack: PackDraw) -> PackSpec:
    """What intake knows: the weakest group's SoH and the worst one's resistance."""
    truth = pack.truth
    weakest = truth.soh_mean_frac - 2.0 * truth.soh_spread_frac
    ratio = 1.0 + NEW_SOH_R_SLOPE * (1.0 - weakest)
    if truth.tired_group is not None:
        weakest, ratio = min(weakest, truth.tired_soh_frac), truth.tired_resistance_ratio
    return PackSpec(
        id=f"p{index + 1}",
        code="9ZZPB02DAL0000457RP",
        original_codes=("9ZZPB02ABC12347CP0000123",),
        chemistry=state.chemistry,
        series_cells=state.series_cells,
        reported_cells=state.series_cells,
        reported_temps=4,
        rated_ah=pack.rated_ah,
        soh_frac=weakest + pack.intake_error * state.soh_sigma,
        soh_sigma_frac=state.soh_sigma,
        resistance_ratio=ratio,
        group_resistance_ohm=NEW_OHM_AH[state.chemistry] / pack.rated_ah,
        intake_date=date(2026, 6, 1),
        air_zone="cabinet-1",
        device=f"bms{index + 1}",
    )


def _converter(
    state: State, packs: tuple[PackSpec, ...], index: int, group: tuple[int, ...], cell_v: float
) -> ConverterSpec:
    held_wh = sum(packs[k].rated_ah * packs[k].series_cells * cell_v for k in group)
    rated_w = state.rating_c * held_wh
    shelf = None
    if state.kind is SiteKind.DIRECT_BUS:
        cells = state.series_cells
        shelf = RectifierSpec(
            3.36 * cells, 20.0 * len(group), state.lvd_cell_v * cells, 3.1 * cells
        )
    return ConverterSpec(
        id=f"c{index + 1}",
        device=f"c{index + 1}",
        packs=group,
        rated_charge_w=rated_w,
        rated_discharge_w=rated_w,
        ramp_w_per_s=rated_w,
        efficiency_frac=state.efficiency,
        standby_w=state.standby_frac * rated_w,
        device_timeout_s=1e9,
        rectifier=shelf,
    )
