"""A small valid site file as text, so that a test says only what it changes."""

from collections.abc import Callable
from pathlib import Path

import pytest

TARIFF = """\
name: Flat
currency: CNY
timezone: Asia/Shanghai
energy: {default: 0.5}
demand: {rate_per_kw_month: 40, window_min: 15}
"""

SITE = """\
site:
  id: small
  name: {en: Small, zh: 小}
  timezone: Asia/Shanghai
  kind: own_converters
  safety_report_sha256: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa1
  screening_report_sha256: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa2
  maker_authorisation: letter 1
grid: {device: meter, import_limit_kw: 50, tariff: tariff.yaml}
loads:
  - {id: core, name: Core, critical: true, nominal_kw: 2, device: loads}
  - {id: rest, name: Rest, sheddable: true, priority: 1, nominal_kw: 8, device: loads}
backup: {hours: 1, critical_kw: 2}
converters:
  - {id: pcs1, device: pcs1, packs: [p1], rated_charge_kw: 5,
     rated_discharge_kw: 5, ramp_kw_per_s: 2}
  - {id: pcs2, device: pcs2, packs: [p2], rated_charge_kw: 8,
     rated_discharge_kw: 8, ramp_kw_per_s: 2}
packs:
  - id: p1
    code: 9ZZPB02G8C0000101RP
    original_codes: [9ZZPB02ABC123496L0000101]
    chemistry: LFP
    series_cells: 48
    reported_temps: 12
    rated_ah: 100
    group_resistance_mohm: 1.0
    intake: {date: 2026-01-15, source: bench 1, soh_pct: 80, soh_sigma_pct: 1,
             resistance_ratio: 1.2}
    air_zone: room
    device: bms1
  - id: p2
    code: 9ZZPE05G8C0000102RP
    original_codes: [9ZZPE05XYZ98768AC0000102]
    chemistry: NMC
    series_cells: 96
    reported_cells: 2
    reported_temps: 2
    rated_ah: 60
    group_resistance_mohm: 1.5
    intake: {date: 2026-01-15, source: bench 2, soh_pct: 82}
    air_zone: room
    device: bms2
devices:
  meter: {profile: meter_acrel_adw300, transport: modbus_tcp, host: 10.0.0.1, port: 502}
  loads: {profile: meter_loads_sim, transport: modbus_tcp, host: 10.0.0.2, port: 502}
  pcs1: {profile: pcs_sunspec_704, transport: modbus_tcp, host: 10.0.0.3, port: 502}
  pcs2: {profile: pcs_sunspec_704, transport: modbus_tcp, host: 10.0.0.4, port: 502}
  bms1: {profile: bms_rack_0x2000, transport: modbus_tcp, host: 10.0.0.5, port: 502}
  bms2: {profile: bms_ev_module_rack, transport: modbus_tcp, host: 10.0.0.6, port: 502}
"""

DIRECT_BUS = """\
  - id: shelf
    device: pcs1
    packs: [p1]
    rated_charge_kw: 3
    rated_discharge_kw: 3
    ramp_kw_per_s: 1
    rectifier: {float_v: 53.5, charge_current_limit_a: 50,
                lvd_disconnect_v: 43.2, lvd_reconnect_v: 49}
"""


def edited(*changes: tuple[str, str], text: str = SITE) -> str:
    """The site text with each ``old`` replaced by ``new``; every ``old`` must be there."""
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    return text


def direct_bus_text() -> str:
    """The small site as a −48 V plant with one 16S pack."""
    text = edited(
        ("kind: own_converters", "kind: direct_bus"), ("series_cells: 48", "series_cells: 16"),
        ("profile: pcs_sunspec_704", "profile: rectifier_48v_sim"),
        ("critical_kw: 2", "critical_kw: 0.5"), ("nominal_kw: 2,", "nominal_kw: 0.5,"),
    )  # fmt: skip
    lines = text.splitlines(keepends=True)
    gone = [i for i, line in enumerate(lines) if line.startswith(("  pcs2:", "  bms2:"))]
    first, last = lines.index("converters:\n"), lines.index("packs:\n")
    second = lines.index("  - id: p2\n")
    devices = lines.index("devices:\n")
    kept = [*lines[: first + 1], DIRECT_BUS, *lines[last:second]]
    return "".join(kept + [line for i, line in enumerate(lines) if i >= devices and i not in gone])


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    """Put a site file beside its tariff."""
    (tmp_path / "tariff.yaml").write_text(TARIFF, encoding="utf-8")

    def _write(text: str) -> Path:
        path = tmp_path / "site.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return _write
