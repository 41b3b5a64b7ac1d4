"""What a site is: the validated, compiled form of a site file, in SI units.

``ems.config`` reads the YAML an integrator writes and builds these; everything
else only reads them. Order matters: packs, converters and loads are referred to
by their index here, and every per-pack array in the program has this order.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray


class Chemistry(StrEnum):
    """Cell chemistry as the safety table knows it."""

    LFP = "LFP"
    NMC = "NMC"
    LMO = "LMO"
    LTO = "LTO"


class SiteKind(StrEnum):
    """The three kinds of plant (design: one core, three capabilities)."""

    OWN_CONVERTERS = "own_converters"
    """Each pack behind its own PCS or DC/DC: a command is a power per pack."""
    SHARED_DC_BUS = "shared_dc_bus"
    """Packs in parallel behind one PCS: one total power, a contactor per pack."""
    DIRECT_BUS = "direct_bus"
    """Packs float on the load's own −48 V bus beside a rectifier shelf."""


@dataclass(frozen=True, slots=True)
class PackSpec:
    """One repurposed pack: its identity and what was measured at intake."""

    id: str
    code: str
    """GB/T 34014 code of the second-life product."""
    original_codes: tuple[str, ...]
    chemistry: Chemistry
    series_cells: int
    reported_cells: int
    """Cell voltages the BMS reports: ``series_cells``, or 2 (lowest, highest)."""
    reported_temps: int
    """Cell temperatures the BMS reports, >= 1."""
    rated_ah: float
    """Nameplate capacity of the donor pack, Ah (SoH is relative to this)."""
    soh_frac: float
    """Capacity of the weakest series group at intake / rated, 0..1."""
    soh_sigma_frac: float
    """Standard deviation of ``soh_frac``."""
    resistance_ratio: float | None
    """R(25 degC) of the worst group / new; ``None`` when no reference is known."""
    group_resistance_ohm: float
    """10 s resistance of one new series group at 25 degC, ohm."""
    intake_date: date
    air_zone: str
    device: str
    """Id of the BMS among ``Site.devices``."""


@dataclass(frozen=True, slots=True)
class RectifierSpec:
    """−48 V rectifier shelf: voltages are magnitudes at the bus, V."""

    float_v: float
    charge_current_limit_a: float
    lvd_disconnect_v: float
    lvd_reconnect_v: float


@dataclass(frozen=True, slots=True)
class ConverterSpec:
    """A power actuator and the packs behind it."""

    id: str
    device: str
    packs: tuple[int, ...]
    """Indices into ``Site.packs``; one for own converters, all for a bus."""
    rated_charge_w: float
    rated_discharge_w: float
    ramp_w_per_s: float
    efficiency_frac: float
    """One-way efficiency used for planning, 0..1."""
    standby_w: float
    device_timeout_s: float
    """The device falls back to its safe value after this long without a command."""
    rectifier: RectifierSpec | None = None


@dataclass(frozen=True, slots=True)
class LoadSpec:
    """A load or feeder. Lower ``priority`` numbers are kept longer."""

    id: str
    name: str
    critical: bool
    sheddable: bool
    priority: int
    nominal_w: float
    device: str | None
    """Meter of this load; ``None`` means it is inside the site total only."""
    share_frac: float
    """Share of the site load attributed to this feeder where it has no meter."""


@dataclass(frozen=True, slots=True)
class GridSpec:
    """Point of common coupling."""

    device: str
    nominal_v: float
    nominal_hz: float
    import_limit_w: float
    export_limit_w: float
    demand_window_s: float
    """Length of the clock-aligned demand window, s; 900 in China."""
    tariff: Path
    """Tariff file, see ``configs/tariffs/``."""


@dataclass(frozen=True, slots=True)
class PvSpec:
    """PV behind the meter; ``device`` is its meter or inverter."""

    device: str
    rated_w: float


@dataclass(frozen=True, slots=True)
class BackupSpec:
    """The promise to the critical load."""

    hours: float
    critical_w: float
    """Critical load the promise is made for, W at the site bus."""
    confidence: float
    """Probability with which the shown lower bound holds, 0.5..0.999."""
    soc_ceiling_frac: float | None
    """Standby ceiling; ``None`` takes the chemistry's default (cause C12)."""


@dataclass(frozen=True, slots=True)
class DeviceSpec:
    """How to reach one device and which profile speaks its language."""

    id: str
    profile: str
    """Name of a shipped profile or path of a YAML file."""
    transport: Literal["modbus_tcp", "modbus_rtu", "modbus_rtu_tcp", "modbus_tls", "opcua"]
    host: str
    """Empty for a serial port."""
    port: int
    unit_id: int
    path: str
    """OPC UA endpoint path, or the serial port of ``modbus_rtu``; else empty."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Profile parameters, such as ``prefix`` of OPC UA node ids."""


@dataclass(frozen=True, slots=True)
class ThresholdOverride:
    """A site's own, tighter number for one level of one cause."""

    cause: str
    level: int
    value: float
    reason: str


@dataclass(frozen=True, slots=True)
class SafetySpec:
    """Tightening of the interlock table and rows that do not apply here."""

    overrides: tuple[ThresholdOverride, ...] = ()
    not_applicable: Mapping[str, str] = field(default_factory=dict)
    """Cause id -> reason, shown wherever the table is shown."""


@dataclass(frozen=True, slots=True)
class UplinkSpec:
    """MQTT broker of the traceability platform."""

    host: str
    port: int
    topic_prefix: str
    tls_ca: Path | None = None
    username_env: str | None = None
    password_env: str | None = None
    telemetry_period_s: float = 10.0
    hold_unheard: bool = True
    """Keep records that the broker took although nobody was subscribed."""


@dataclass(frozen=True, slots=True)
class SimPack:
    """Truth about one simulated pack. Only ``sim`` reads it; the EMS never does."""

    soh_mean_frac: float
    soh_spread_frac: float
    tired_group: int | None
    tired_soh_frac: float
    tired_resistance_ratio: float
    soc_start_frac: float


@dataclass(frozen=True, slots=True)
class SimSpec:
    """Truth about the simulated surroundings."""

    ambient_c: float
    ambient_swing_c: float
    load_w: float
    """Constant site load when no trace is given, W."""
    packs: tuple[SimPack, ...]


@dataclass(frozen=True, slots=True)
class Site:
    """Everything about a site that does not change while the daemon runs."""

    id: str
    name_en: str
    name_zh: str
    timezone: str
    kind: SiteKind
    cycle_s: float
    packs: tuple[PackSpec, ...]
    converters: tuple[ConverterSpec, ...]
    loads: tuple[LoadSpec, ...]
    grid: GridSpec
    pv: PvSpec | None
    backup: BackupSpec
    devices: Mapping[str, DeviceSpec]
    safety: SafetySpec
    uplink: UplinkSpec | None
    data_dir: Path
    metrics_port: int
    """Port of ``/metrics`` on 127.0.0.1; 0 switches it off."""
    sim: SimSpec
    source_sha256: str
    """Hash of the site file's bytes."""
    layout: "Layout" = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "layout", Layout.of(self))

    @property
    def n_packs(self) -> int:
        return len(self.packs)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where each pack's cells and sensors lie in the site-wide blocks."""

    cell_start: NDArray[np.intp]
    """First cell of each pack, shape ``(n_packs,)``; for ``ufunc.reduceat``."""
    temp_start: NDArray[np.intp]
    cell_slices: tuple[slice, ...]
    temp_slices: tuple[slice, ...]
    pack_of_cell: NDArray[np.intp]
    """Pack index of each reported cell, shape ``(n_cells,)``."""
    pack_of_temp: NDArray[np.intp]
    converter_of_pack: NDArray[np.intp]
    n_cells: int
    n_temps: int

    @classmethod
    def of(cls, site: Site) -> "Layout":
        cells = [pack.reported_cells for pack in site.packs]
        temps = [pack.reported_temps for pack in site.packs]
        cell_edges = np.concatenate(([0], np.cumsum(cells))).astype(np.intp)
        temp_edges = np.concatenate(([0], np.cumsum(temps))).astype(np.intp)
        converter_of_pack = np.zeros(len(site.packs), dtype=np.intp)
        for index, converter in enumerate(site.converters):
            converter_of_pack[list(converter.packs)] = index
        return cls(
            cell_start=cell_edges[:-1],
            temp_start=temp_edges[:-1],
            cell_slices=tuple(slice(a, b) for a, b in pairwise(cell_edges)),
            temp_slices=tuple(slice(a, b) for a, b in pairwise(temp_edges)),
            pack_of_cell=np.repeat(np.arange(len(cells)), cells),
            pack_of_temp=np.repeat(np.arange(len(temps)), temps),
            converter_of_pack=converter_of_pack,
            n_cells=int(cell_edges[-1]),
            n_temps=int(temp_edges[-1]),
        )
