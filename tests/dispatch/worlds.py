"""A small site with a tariff, and the estimates dispatch is given, for its tests."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np

from ems.dispatch import track
from ems.dispatch.state import DispatchState
from ems.dispatch.tariff import Tariff
from ems.dispatch.tariff_file import load_tariff
from ems.model import (
    MISSING,
    BackupEstimate,
    ConverterState,
    Limits,
    OperatorRequest,
    Plan,
    PlanRequest,
    Reading,
    RequestKind,
    SetpointRequest,
    SiteEstimate,
    SiteSnapshot,
    Standing,
)
from ems.site import Site
from tests.builders import good, make_site, make_snapshot

TARIFFS = Path(__file__).parents[2] / "configs" / "tariffs"
BEIJING = load_tariff(TARIFFS / "beijing-two-part-10kv.yaml")
SINGLE_PART = load_tariff(TARIFFS / "beijing-single-part-lt1kv.yaml")
SHANGHAI = ZoneInfo("Asia/Shanghai")
FLAT_UTC = datetime(2026, 3, 2, 14, 0, tzinfo=SHANGHAI).astimezone(UTC)
"""Monday 14:00, flat price."""
VALLEY_UTC = datetime(2026, 3, 2, 3, 0, tzinfo=SHANGHAI).astimezone(UTC)
PEAK_UTC = datetime(2026, 3, 2, 18, 0, tzinfo=SHANGHAI).astimezone(UTC)
PACK_WH = 4_000.0
"""Energy of each test pack between floor and 100 %."""


def site(**changes: object) -> Site:
    """Three packs of about 2.6 kW and 4 kWh; 2 kW critical for one hour; no export."""
    return make_site(**changes)  # type: ignore[arg-type]


def estimate(of: Site, soc: float = 0.6) -> SiteEstimate:
    """Every pack at one SoC, known for sure."""
    n = of.n_packs
    zeros, index = np.zeros(n), np.zeros(n, dtype=np.int64)
    return SiteEstimate(
        soc_frac=np.full(n, soc),
        soc_sigma_frac=np.full(n, 0.02),
        soc_known=np.ones(n, dtype=bool),
        weakest_cell=index,
        fullest_cell=index,
        capacity_ah=np.full(n, PACK_WH / 50.0),
        soh_frac=np.full(n, 0.8),
        soh_sigma_frac=np.full(n, 0.01),
        resistance_ratio=np.ones(n),
        resistance_ohm=zeros,
        ocv_v=np.full(n, 50.0),
        ocv_cell_min_v=zeros,
        ocv_cell_max_v=zeros,
        group_resistance_max_ohm=zeros,
        voltage_v=np.full(n, 50.0),
        current_a=zeros,
        soc_max_frac=np.full(n, soc),
    )


def limits(of: Site, power_w: float = 2_640.0) -> Limits:
    """The same power both ways for every pack."""
    n = of.n_packs
    return Limits(
        charge_w=np.full(n, power_w),
        discharge_w=np.full(n, power_w),
        charge_a=np.full(n, 50.0),
        discharge_a=np.full(n, 50.0),
        soc_low_frac=np.full(n, 0.1),
        soc_high_frac=np.full(n, 0.95),
        health=np.ones(n),
        charge_reason=("",) * n,
        discharge_reason=("",) * n,
    )


def backup(of: Site, soc: float = 0.6, required_wh: float = 2_000.0) -> BackupEstimate:
    """Energies that follow from the SoC; the lower bound is 5 % below."""
    pack = np.full(of.n_packs, max(soc - 0.1, 0.0) * PACK_WH)
    room = np.full(of.n_packs, max(0.95 - soc, 0.0) * PACK_WH)
    total = float(pack.sum()) * 0.95
    return BackupEstimate(
        pack_energy_wh=pack,
        pack_headroom_wh=room,
        energy_wh=total,
        energy_low_wh=0.95 * total,
        hours=total / 2_000.0,
        hours_low=0.95 * total / 2_000.0,
        required_wh=required_wh,
    )


def standing(of: Site, lost: bool = False, stopped: tuple[int, ...] = ()) -> Standing:
    """The gate's verdict of the cycle before."""
    return Standing(lost, tuple(i not in stopped for i in range(of.n_packs)))


def plan(
    of: Site,
    start: datetime,
    power_w: float = 0.0,
    target_w: float = 6_000.0,
    load_w: float = 4_000.0,
    level: int = 1,
    made: datetime | None = None,
) -> Plan:
    """A constant plan for one day; ``power_w`` is the sum over the converters."""
    n = len(of.converters)
    return Plan(
        id="plan-1",
        made_at_utc=made or start,
        start_utc=start,
        step_s=900.0,
        level=level,
        solver="test",
        peak_target_w=target_w,
        converter_power_w=np.full((96, n), power_w / n),
        grid_power_w=np.full(96, load_w - power_w),
        load_power_w=np.full(96, load_w),
        pv_power_w=np.zeros(96),
        reserve_slack_wh=0.0,
        solve_s=0.0,
    )


def snapshot(
    of: Site, at: datetime, load_w: float, battery_w: float = 0.0, now_s: float = 1_000.0
) -> SiteSnapshot:
    """Everything measured and good; ``battery_w`` is shared equally."""
    base = make_snapshot(of, now_s=now_s, load_w=load_w, now_utc=at)
    each = good(battery_w / len(of.converters), now_s)
    return replace(
        base,
        converters=tuple(replace(c, power_w=each) for c in base.converters),
        grid=replace(base.grid, power_w=good(load_w - battery_w, now_s), import_wh=MISSING),
    )


def without_meter(of: SiteSnapshot) -> SiteSnapshot:
    grid = replace(of.grid, power_w=MISSING, voltage_v=MISSING, import_wh=MISSING)
    return replace(of, grid=grid)


def islanded(of: SiteSnapshot, grid_v: Reading = MISSING) -> SiteSnapshot:
    """Grid gone: converters form the bus."""
    state = good(float(ConverterState.ISLAND), of.now_s)
    return replace(
        of,
        converters=tuple(replace(c, state=state) for c in of.converters),
        grid=replace(of.grid, voltage_v=grid_v, power_w=good(0.0, of.now_s)),
    )


class World:
    """Drives the tracker second by second with a battery that does what it is asked."""

    def __init__(
        self,
        of: Site | None = None,
        start: datetime = FLAT_UTC,
        soc: float = 0.6,
        tariff: Tariff = BEIJING,
        required_wh: float = 2_000.0,
        state: DispatchState | None = None,
    ) -> None:
        self.site = of or site()
        self.state = state or track.initial(self.site)
        self.at, self.now_s = start, 1_000.0
        self.soc = soc
        self.required_wh = required_wh
        self.tariff = tariff
        self.battery_w = 0.0
        self.import_w: list[float] = []

    def step(
        self,
        load_w: float,
        plan: Plan | None = None,
        change: "object" = None,
        requests: tuple[object, ...] = (),
        step_s: float = 1.0,
        lost: bool = False,
        stopped: tuple[int, ...] = (),
    ) -> SetpointRequest:
        """One cycle; ``change`` is a function applied to the snapshot.

        ``lost`` is the gate's verdict on the grid, ``stopped`` the packs it does not let
        discharge.
        """
        seen = snapshot(self.site, self.at, load_w, self.battery_w, self.now_s)
        seen = replace(seen, requests=requests)  # type: ignore[arg-type]
        if callable(change):
            seen = change(seen)
        self.state, request = track.track(
            self.state,
            seen,
            standing(self.site, lost, stopped),
            estimate(self.site, self.soc),
            limits(self.site),
            backup(self.site, self.soc, self.required_wh),
            plan,
            self.tariff,
            self.site,
        )
        self.state = track.accept(self.state, seen, tuple(r.id for r in seen.requests))
        self.import_w.append(load_w - self.battery_w)
        self.battery_w = float(request.converter_power_w.sum())
        eta = 0.95
        drawn_w = self.battery_w / eta if self.battery_w > 0.0 else self.battery_w * eta
        self.soc -= drawn_w * step_s / 3_600.0 / (self.site.n_packs * PACK_WH)
        self.at += timedelta(seconds=step_s)
        self.now_s += step_s
        return request


def request(of: Site, at: datetime, **changes: object) -> PlanRequest:
    """A request at the start of a window with half-full packs."""
    n = of.n_packs
    base = PlanRequest(
        id="plan-1",
        now_utc=at,
        energy_wh=np.full(n, 2_000.0),
        headroom_wh=np.full(n, 1_200.0),
        charge_w=np.full(n, 2_640.0),
        discharge_w=np.full(n, 2_640.0),
        reserve_wh=2_000.0,
        incurred_peak_w=0.0,
        window_w=0.0,
        window_elapsed_frac=0.0,
        converter_power_w=np.zeros(len(of.converters)),
        history=(),
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def days_of_history(
    until: datetime, days: int, profile_w: "np.typing.NDArray[np.float64]"
) -> tuple[tuple[datetime, float | None, float | None], ...]:
    """The same day again and again; ``profile_w`` by local quarter of the day."""
    count = days * 96
    starts = [until - timedelta(minutes=15 * (count - i)) for i in range(count)]
    out = []
    for start in starts:
        at = start.astimezone(SHANGHAI)
        out.append((start, float(profile_w[at.hour * 4 + at.minute // 15]), 0.0))
    return tuple(out)


def settled(world: World, load_w: float, plan: Plan | None, seconds: int = 20) -> SetpointRequest:
    """The request after the smoothing of the load has settled."""
    for _ in range(seconds):
        request = world.step(load_w, plan)
    return request


def ask(kind: RequestKind, value: float, duration_s: float) -> tuple[OperatorRequest, ...]:
    return (OperatorRequest("r1", kind, "li", "test", value=value, duration_s=duration_s),)
