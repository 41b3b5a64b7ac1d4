"""Sites and snapshots for tests, built in code so that a test states only what it is about."""

from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np

from ems.model import (
    CellBlock,
    Contactor,
    ConverterReading,
    ConverterState,
    GridReading,
    Link,
    PackReading,
    Quality,
    Reading,
    SiteSnapshot,
)
from ems.site import (
    BackupSpec,
    Chemistry,
    ConverterSpec,
    DeviceSpec,
    GridSpec,
    LoadSpec,
    PackSpec,
    PvSpec,
    RectifierSpec,
    SafetySpec,
    SimPack,
    SimSpec,
    Site,
    SiteKind,
)

NOMINAL_CELL_V = {
    Chemistry.LFP: 3.30,
    Chemistry.NMC: 3.70,
    Chemistry.LMO: 3.80,
    Chemistry.LTO: 2.30,
}
NOON_UTC = datetime(2026, 3, 2, 4, 0, tzinfo=UTC)


def make_pack(
    index: int,
    chemistry: Chemistry = Chemistry.LFP,
    series_cells: int = 16,
    rated_ah: float = 100.0,
) -> PackSpec:
    """A pack in fair second-life condition."""
    return PackSpec(
        id=f"p{index + 1}",
        code="9ZZPB02DAL0000457RP",
        original_codes=("9ZZPB02ABC12347CP0000123",),
        chemistry=chemistry,
        series_cells=series_cells,
        reported_cells=series_cells,
        reported_temps=max(1, series_cells // 4),
        rated_ah=rated_ah,
        soh_frac=0.78,
        soh_sigma_frac=0.01,
        resistance_ratio=1.2,
        group_resistance_ohm=0.0010,
        intake_date=date(2026, 1, 15),
        air_zone="cabinet-1",
        device=f"bms{index + 1}",
    )


def make_site(
    kind: SiteKind = SiteKind.OWN_CONVERTERS,
    n_packs: int = 3,
    chemistry: Chemistry = Chemistry.LFP,
    series_cells: int = 16,
    backup_hours: float = 1.0,
    critical_w: float = 2_000.0,
    cycle_s: float = 1.0,
    demand_window_s: float = 900.0,
    tariff: Path = Path("configs/tariffs/beijing-two-part-10kv.yaml"),
    data_dir: Path = Path("out"),
) -> Site:
    """A small valid site of one kind, all packs alike."""
    packs = tuple(make_pack(i, chemistry, series_cells) for i in range(n_packs))
    rated_w = packs[0].rated_ah * NOMINAL_CELL_V[chemistry] * series_cells * 0.5
    rectifier = None
    if kind is SiteKind.DIRECT_BUS:
        rectifier = RectifierSpec(
            float_v=series_cells * 3.36,
            charge_current_limit_a=20.0 * n_packs,
            lvd_disconnect_v=series_cells * 2.75,
            lvd_reconnect_v=series_cells * 3.1,
        )
    groups = (
        [(i,) for i in range(n_packs)]
        if kind is SiteKind.OWN_CONVERTERS
        else [tuple(range(n_packs))]
    )
    converters = tuple(
        ConverterSpec(
            id=f"pcs{i + 1}",
            device=f"pcs{i + 1}",
            packs=group,
            rated_charge_w=rated_w * len(group),
            rated_discharge_w=rated_w * len(group),
            ramp_w_per_s=rated_w,
            efficiency_frac=0.95,
            standby_w=20.0,
            device_timeout_s=10.0,
            rectifier=rectifier,
        )
        for i, group in enumerate(groups)
    )
    names = [p.device for p in packs] + [c.device for c in converters] + ["meter"]
    devices = {
        name: DeviceSpec(
            id=name,
            profile="simulated",
            transport="modbus_tcp",
            host="127.0.0.1",
            port=1502 + i,
            unit_id=1,
            path="",
        )
        for i, name in enumerate(names)
    }
    return Site(
        id="test-site",
        name_en="Test site",
        name_zh="测试站点",
        timezone="Asia/Shanghai",
        kind=kind,
        cycle_s=cycle_s,
        packs=packs,
        converters=converters,
        loads=(
            LoadSpec("critical", "Critical feeder", True, False, 0, critical_w, None, 0.5),
            LoadSpec("comfort", "Air conditioning", False, True, 1, critical_w / 2, None, 0.25),
            LoadSpec("other", "Everything else", False, True, 2, critical_w / 2, None, 0.25),
        ),
        grid=GridSpec("meter", 230.0, 50.0, 100_000.0, 0.0, demand_window_s, tariff),
        pv=PvSpec("meter", 5_000.0) if kind is SiteKind.OWN_CONVERTERS else None,
        backup=BackupSpec(backup_hours, critical_w, 0.95, None),
        devices=devices,
        safety=SafetySpec(),
        uplink=None,
        data_dir=data_dir,
        metrics_port=0,
        sim=SimSpec(
            ambient_c=25.0,
            ambient_swing_c=0.0,
            load_w=2 * critical_w,
            packs=tuple(SimPack(0.80, 0.02, None, 0.7, 1.5, 0.6) for _ in packs),
        ),
        source_sha256="0" * 64,
    )


def good(value: float, at_s: float = 0.0) -> Reading:
    """A fresh, trustworthy reading."""
    return Reading(value, at_s)


def make_snapshot(
    site: Site,
    now_s: float = 100.0,
    *,
    cell_v: float | None = None,
    cell_temp_c: float = 25.0,
    current_a: float = 0.0,
    soc_frac: float = 0.6,
    load_w: float = 4_000.0,
    grid_v: float = 230.0,
    contactor: Contactor = Contactor.CLOSED,
    now_utc: datetime = NOON_UTC,
) -> SiteSnapshot:
    """A snapshot in which every device answered just now and all is well."""
    layout = site.layout
    if cell_v is None:
        per_pack = [NOMINAL_CELL_V[p.chemistry] for p in site.packs]
    else:
        per_pack = [cell_v] * site.n_packs
    voltage = np.array(per_pack)[layout.pack_of_cell]
    cells = CellBlock(
        voltage_v=voltage,
        voltage_at_s=np.full(layout.n_cells, now_s),
        voltage_quality=np.zeros(layout.n_cells, np.uint8),
        temp_c=np.full(layout.n_temps, cell_temp_c),
        temp_at_s=np.full(layout.n_temps, now_s),
        temp_quality=np.zeros(layout.n_temps, np.uint8),
    )
    packs = tuple(
        PackReading(
            link=Link.UP,
            voltage_v=good(v * spec.series_cells, now_s),
            current_a=good(current_a, now_s),
            soc_frac=good(soc_frac, now_s),
            soh_frac=good(0.8, now_s),
            charge_limit_a=good(spec.rated_ah * 0.5, now_s),
            discharge_limit_a=good(spec.rated_ah, now_s),
            alarm_level=good(0.0, now_s),
            contactor=good(float(contactor), now_s),
            heartbeat=good(now_s, now_s),
        )
        for spec, v in zip(site.packs, per_pack, strict=True)
    )
    converters = tuple(
        ConverterReading(
            link=Link.UP,
            power_w=good(current_a * packs[c.packs[0]].voltage_v.value * len(c.packs), now_s),  # type: ignore[operator]
            setpoint_w=good(0.0, now_s),
            state=good(float(ConverterState.RUN), now_s),
            dc_voltage_v=packs[c.packs[0]].voltage_v,
            dc_current_a=good(current_a * len(c.packs), now_s),
        )
        for c in site.converters
    )
    battery_w = sum(c.power_w.value or 0.0 for c in converters)
    return SiteSnapshot(
        now_s=now_s,
        now_utc=now_utc,
        clock_ok=True,
        cells=cells,
        packs=packs,
        converters=converters,
        grid=GridReading(
            link=Link.UP,
            power_w=good(load_w - battery_w, now_s),
            voltage_v=good(grid_v, now_s),
            frequency_hz=good(site.grid.nominal_hz, now_s),
            import_wh=good(0.0, now_s),
        ),
        load_power_w=tuple(Reading(None, 0.0, Quality.MISSING) for _ in site.loads),
        load_on=tuple(True for _ in site.loads),
        pv_power_w=good(0.0, now_s),
    )


def with_pack(snapshot: SiteSnapshot, index: int, **changes: object) -> SiteSnapshot:
    """The snapshot with some readings of one pack replaced."""
    packs = list(snapshot.packs)
    packs[index] = replace(packs[index], **changes)  # type: ignore[arg-type]
    return replace(snapshot, packs=tuple(packs))
