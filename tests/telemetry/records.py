"""Cycle records for the telemetry tests, built without running a cycle."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np

from ems.model import (
    ActiveCause,
    BackupEstimate,
    ContactorDemand,
    CycleRecord,
    GateDecision,
    Limits,
    Mode,
    SetpointRequest,
    SiteEstimate,
    SiteSnapshot,
    Source,
)
from ems.site import Site, UplinkSpec
from tests.builders import NOON_UTC, make_site, make_snapshot

CODES = ("9ZZPB02DAL0000457RP", "9ZZPB02DAL0000458RP", "9ZZPB02DAL0000459RP")


def uplink_site(n_packs: int = 3, period_s: float = 10.0, prefix: str = "ems") -> Site:
    """A site whose packs have codes of their own, reporting to some broker."""
    site = make_site(n_packs=n_packs)
    packs = tuple(
        replace(pack, code=f"9ZZPB02DAL{457 + i:07d}RP") for i, pack in enumerate(site.packs)
    )
    uplink = UplinkSpec("127.0.0.1", 1883, prefix, telemetry_period_s=period_s)
    return replace(site, packs=packs, uplink=uplink, data_dir=Path("out"))


def make_record(
    site: Site,
    now_s: float = 100.0,
    *,
    mode: Mode = Mode.RUN,
    causes: tuple[ActiveCause, ...] = (),
    snapshot: SiteSnapshot | None = None,
    **estimate: object,
) -> CycleRecord:
    """The record of a quiet cycle at ``now_s``; wall time runs with monotonic time."""
    n, m = site.n_packs, len(site.converters)

    def full(value: float) -> np.ndarray:
        return np.full(n, value)

    if snapshot is None:
        now_utc = NOON_UTC + timedelta(seconds=now_s)
        snapshot = make_snapshot(site, now_s, now_utc=now_utc, current_a=10.0)
    believed = SiteEstimate(
        soc_frac=full(0.6),
        soc_sigma_frac=full(0.02),
        soc_known=np.ones(n, bool),
        weakest_cell=np.full(n, 7),
        fullest_cell=np.full(n, 3),
        capacity_ah=full(78.0),
        soh_frac=full(0.78),
        soh_sigma_frac=full(0.01),
        resistance_ratio=full(1.2),
        resistance_ohm=full(0.02),
        ocv_v=full(53.0),
        ocv_cell_min_v=full(3.28),
        ocv_cell_max_v=full(3.32),
        group_resistance_max_ohm=full(0.0013),
        voltage_v=full(52.8),
        current_a=full(10.0),
        soc_max_frac=full(0.6),
    )
    return CycleRecord(
        seq=int(now_s),
        snapshot=snapshot,
        estimate=replace(believed, **estimate),  # type: ignore[arg-type]
        limits=Limits(
            charge_w=full(1_500.0),
            discharge_w=full(2_000.0),
            charge_a=full(30.0),
            discharge_a=full(40.0),
            soc_low_frac=full(0.1),
            soc_high_frac=full(0.9),
            health=full(0.5),
            charge_reason=("cold",) * n,
            discharge_reason=("bms_limit",) * n,
        ),
        backup=BackupEstimate(full(1_500.0), full(900.0), 4_000.0, 3_500.0, 2.0, 1.75, 2_000.0),
        request=SetpointRequest(
            converter_power_w=np.full(m, 500.0),
            load_on=tuple(True for _ in site.loads),
            source=Source.PLAN,
            reason="holding 8 kW in this window",
            demand_window_w=7_500.0,
            demand_target_w=8_000.0,
            plan_level=1,
            plan_age_s=120.0,
        ),
        decision=GateDecision(
            mode=mode,
            low_w=np.full(m, -1_400.0),
            high_w=np.full(m, 1_900.0),
            power_w=np.full(m, 500.0),
            contactor=(ContactorDemand.CLOSE,) * n,
            load_on=tuple(True for _ in site.loads),
            pack_low_w=full(-1_400.0),
            pack_high_w=full(1_900.0),
            pack_reason=("",) * n,
            causes=causes,
        ),
        commands=(),
    )


def cause(
    row: str = "C02",
    level: int = 2,
    pack: int | None = 0,
    *,
    detail: str = "cell 7 at 2.99 V",
    latched: bool = False,
    acknowledged: bool = False,
) -> ActiveCause:
    """One active interlock row."""
    return ActiveCause(
        row, "cell_voltage_low", level, pack, detail, 90.0, True, latched, acknowledged
    )
