"""What a site file may say: one model a section, units as people say them.

kW, kWh, %, minutes and hours stand here and nowhere behind ``ems.config.compile``;
the unit is the last token of every key. Descriptions are the text of
``docs/reference/site-file.md`` and of the error for a missing key.
"""

import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from ems.site import Chemistry, SiteKind

Id = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
Text = Annotated[str, Field(min_length=1, max_length=200)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Percent = Annotated[float, Field(ge=0, le=100)]
PowerKw = Annotated[float, Field(ge=0, le=100_000)]
Port = Annotated[int, Field(ge=1, le=65_535)]
CauseId = Annotated[str, Field(pattern=r"^C[0-9]{2}[a-z]?$")]
EnvName = Annotated[str, Field(pattern=r"^[A-Z_][A-Z0-9_]*$")]


class Section(BaseModel):
    """A mapping of a site file: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Name(Section):
    """A name in the two languages of the screens."""

    en: Text = Field(description="English name.")
    zh: Text = Field(description="Chinese name.")


class SiteSection(Section):
    """Which site this is, what kind of plant stands there, and the papers it needs."""

    id: Id = Field(description="Short name used in records, topics and file names.")
    name: Name = Field(description="Name shown on screens.")
    timezone: str = Field(description="IANA zone, such as Asia/Shanghai; tariffs follow it.")
    kind: SiteKind = Field(
        description="Own converter per pack, packs in parallel behind one converter, "
        "or packs on the −48 V bus beside a rectifier shelf."
    )
    cycle_s: float = Field(default=1.0, ge=0.25, le=5, description="Period of the control cycle.")
    safety_report_sha256: Sha256 | None = Field(
        default=None, description="Hash of the qualified body's safety report for the batteries."
    )
    screening_report_sha256: Sha256 | None = Field(
        default=None, description="Hash of the report that screened the packs for consistency."
    )
    maker_authorisation: Text | None = Field(
        default=None,
        description="Reference of the original maker's authorisation to reuse the packs.",
    )


class GridSection(Section):
    """Point of common coupling: meter, limits and tariff."""

    device: Id = Field(description="Grid meter, among devices.")
    nominal_v: float = Field(default=230.0, ge=100, le=500, description="Nominal phase voltage.")
    nominal_hz: Literal[50, 60] = Field(default=50, description="Nominal frequency.")
    import_limit_kw: PowerKw = Field(description="Largest import the connection allows.")
    export_limit_kw: PowerKw = Field(
        default=0.0, description="Largest export allowed; 0 forbids it."
    )
    demand_window_min: Literal[15, 30, 60] = Field(
        default=15, description="Clock-aligned window over which demand is averaged."
    )
    tariff: str = Field(description="Tariff file, relative to this file.", min_length=1)


class LoadSection(Section):
    """One load or feeder."""

    id: Id = Field(description="Short name, unique among loads.")
    name: Text = Field(description="Name shown on screens.")
    critical: bool = Field(default=False, description="Carried by the backup promise; never shed.")
    sheddable: bool = Field(default=False, description="The EMS may switch it off.")
    priority: int = Field(default=0, ge=0, le=99, description="Lower numbers are kept longer.")
    nominal_kw: PowerKw = Field(description="Usual power when on.")
    device: Id | None = Field(default=None, description="Its meter or I/O module, among devices.")
    share_pct: Percent = Field(
        default=0.0, description="Share of the site load attributed to it where it has no meter."
    )


class PvSection(Section):
    """PV behind the meter."""

    device: Id = Field(description="Its meter, inverter or I/O module, among devices.")
    rated_kw: PowerKw = Field(description="Rated AC power.")


class BackupSection(Section):
    """What is promised to the critical load."""

    hours: float = Field(ge=0, le=72, description="Hours of outage the site must bridge.")
    critical_kw: PowerKw = Field(description="Critical load the promise is made for.")
    confidence_pct: float = Field(
        default=95.0, ge=50, le=99.9, description="Probability with which the shown hours hold."
    )
    soc_ceiling_pct: float | None = Field(
        default=None,
        ge=30,
        le=95,
        description="Standby ceiling; without it 90 for LFP and LTO, 80 for NMC and LMO.",
    )


class RectifierSection(Section):
    """−48 V rectifier shelf; voltages are magnitudes at the bus."""

    float_v: float = Field(gt=0, le=100, description="Float voltage.")
    boost_v: float | None = Field(
        default=None,
        gt=0,
        le=100,
        description="Boost (equalising) voltage, where the shelf has it on.",
    )
    charge_current_limit_a: float = Field(
        gt=0, le=5000, description="Largest current into all packs together."
    )
    lvd_disconnect_v: float = Field(gt=0, le=100, description="The LVD opens below this.")
    lvd_reconnect_v: float = Field(gt=0, le=100, description="The LVD closes above this.")


class ConverterSection(Section):
    """A power actuator: PCS, DC/DC or rectifier shelf, and the packs behind it."""

    id: Id = Field(description="Short name, unique among converters.")
    device: Id = Field(description="How it is reached, among devices.")
    packs: tuple[Id, ...] = Field(min_length=1, description="Packs behind it.")
    rated_charge_kw: PowerKw = Field(description="Largest power into the packs.")
    rated_discharge_kw: PowerKw = Field(description="Largest power out of the packs.")
    ramp_kw_per_s: float = Field(gt=0, le=100_000, description="Fastest change when going up.")
    efficiency_pct: float = Field(
        default=95.0, ge=50, le=100, description="One-way efficiency used for planning."
    )
    standby_kw: PowerKw = Field(default=0.0, description="Own consumption at 0 kW.")
    device_timeout_s: float = Field(
        default=10.0,
        gt=0,
        le=10,
        description="Without a command for this long the device goes to its safe value; "
        "10 s at most, below the watchdog's 15 s.",
    )
    rectifier: RectifierSection | None = Field(
        default=None, description="Only for kind direct_bus, and required there."
    )


class IntakeSection(Section):
    """What was measured when the pack came in."""

    date: datetime.date = Field(description="Day of the capacity test.")
    source: Text = Field(description="Report or test bench that says so.")
    soh_pct: float = Field(
        gt=0, le=110, description="Capacity of the weakest series group / rated."
    )
    soh_sigma_pct: float = Field(
        default=1.0, ge=0, le=20, description="Standard deviation of soh_pct, in points."
    )
    resistance_ratio: float | None = Field(
        default=None,
        ge=0.5,
        le=10,
        description="R(25 °C) of the worst group / new; empty if unknown.",
    )


class PackSection(Section):
    """One repurposed pack."""

    id: Id = Field(description="Short name, unique among packs.")
    code: str = Field(description="GB/T 34014 code of the second-life product.")
    original_codes: tuple[str, ...] = Field(
        min_length=1, description="Codes of the packs or modules it was made from."
    )
    chemistry: Chemistry = Field(description="Cell chemistry.")
    series_cells: int = Field(ge=1, le=500, description="Series groups in the pack.")
    reported_cells: int | None = Field(
        default=None,
        ge=2,
        le=500,
        description="Cell voltages the BMS reports: all (the default), or 2 (lowest, highest).",
    )
    reported_temps: int = Field(ge=1, le=500, description="Temperatures the BMS reports.")
    rated_ah: float = Field(gt=0, le=10_000, description="Nameplate capacity of the donor.")
    group_resistance_mohm: float = Field(
        gt=0, le=100, description="10 s resistance of one new series group at 25 °C."
    )
    intake: IntakeSection = Field(description="Intake test.")
    air_zone: Id = Field(description="Packs that share air: room, duct or trench.")
    device: Id = Field(description="Its BMS, among devices.")


class DeviceSection(Section):
    """How to reach one device, and which profile speaks its language."""

    profile: Text = Field(
        description="Name of a shipped profile, or path of a YAML file relative to this file."
    )
    transport: Literal["modbus_tcp", "modbus_rtu", "modbus_rtu_tcp", "modbus_tls", "opcua"] = Field(
        description="How it is reached: Modbus over TCP, on a serial port, as serial frames over "
        "TCP, over TLS (Modbus/TCP Security); or OPC UA."
    )
    host: str = Field(
        default="",
        max_length=200,
        description="Address or host name; none for a serial port (modbus_rtu).",
    )
    port: Port | None = Field(
        default=None,
        description="TCP port; 502 is usual for Modbus, 802 under TLS, 4840 for OPC UA; "
        "none for a serial port.",
    )
    unit_id: int = Field(default=1, ge=1, le=255, description="Modbus unit behind the port.")
    path: str = Field(
        default="",
        max_length=200,
        description="Path of the OPC UA endpoint; or the serial port of modbus_rtu, best one under "
        "/dev/serial/by-id/, which stays the same over restarts.",
    )
    options: dict[str, str] = Field(
        default_factory=dict,
        description="Parameters as text. Of a profile: such as prefix. Of a serial line: baud "
        "(9600), parity (N, E, O; N) and stop_bits (1). Of TLS: ca, certificate and key, PEM "
        "files relative to this file, and server_name where the certificate is not made out to "
        "the host. Of OPC UA: security: none, or policy, mode, certificate, key, trust and the "
        "login (user, password_file; or user_certificate, user_key), see the guide 'Secure the "
        "connection to a device'.",
    )


class OverrideSection(Section):
    """A tighter number for one level of one cause of the interlock table."""

    cause: CauseId = Field(description="Row of the table, such as C02.")
    level: int = Field(ge=1, le=4, description="Level 1 to 4.")
    value: float = Field(description="The tighter number, in the unit of the table.")
    reason: Text = Field(description="Why; shown wherever the table is shown.")


class SafetySection(Section):
    """Tightening of the interlock table, and rows that do not apply here."""

    overrides: tuple[OverrideSection, ...] = Field(default=(), description="Tighter numbers.")
    not_applicable: dict[CauseId, Text] = Field(
        default_factory=dict, description="Cause and the reason why it does not apply."
    )


class UplinkSection(Section):
    """MQTT broker of the traceability platform. Secrets stay outside this file."""

    host: Text = Field(description="Broker.")
    port: Port = Field(default=8883, description="Port; 8883 with TLS, 1883 without.")
    topic_prefix: Annotated[str, Field(pattern=r"^[^/#+\s][^#+\s]*[^/#+\s]$")] = Field(
        default="secondlife/v1",
        description="Topics begin with this; no wildcard, no slash at the ends.",
    )
    tls_ca: str | None = Field(
        default=None, min_length=1, description="CA file, relative to this file; without it no TLS."
    )
    username_env: EnvName | None = Field(
        default=None, description="Environment variable that holds the user name."
    )
    password_env: EnvName | None = Field(
        default=None, description="Environment variable that holds the password."
    )
    telemetry_period_s: float = Field(
        default=10.0, ge=1, le=3600, description="How often each pack's state is sent."
    )
    hold_unheard: bool = Field(
        default=True,
        description="Send a record again when the broker took it but nobody was subscribed; "
        "false for rule platforms that never report a subscriber.",
    )


class StorageSection(Section):
    """Where records go."""

    data_dir: str = Field(
        default="/var/lib/secondlife-ems",
        min_length=1,
        description="Directory for log, state and outbox.",
    )


class MetricsSection(Section):
    """Prometheus metrics on 127.0.0.1."""

    port: int = Field(
        default=0, ge=0, le=65_535, description="Port of /metrics; 0 switches it off."
    )


class SimPackSection(Section):
    """Truth about one simulated pack; the EMS never sees it."""

    soh_mean_pct: float = Field(gt=0, le=110, description="Mean capacity of its groups / rated.")
    soh_spread_pct: float = Field(
        default=1.5, ge=0, le=20, description="Standard deviation among groups, in points."
    )
    tired_group: int | None = Field(
        default=None, ge=1, description="Number of a group that aged faster, counted from 1."
    )
    tired_soh_pct: float = Field(
        default=60.0, gt=0, le=110, description="Capacity of the tired group."
    )
    tired_resistance_ratio: float = Field(
        default=1.8, ge=0.5, le=10, description="Its resistance / new."
    )
    soc_start_pct: Percent = Field(default=60.0, description="SoC when the simulation starts.")


class SimulationSection(Section):
    """Truth about the simulated surroundings; used by ems simulate and ems demo only."""

    ambient_c: float = Field(default=25.0, ge=-40, le=60, description="Mean air temperature.")
    ambient_swing_c: float = Field(
        default=0.0,
        ge=0,
        le=30,
        description="Daily swing around the mean, warmest in the afternoon.",
    )
    load_kw: PowerKw | None = Field(
        default=None, description="Constant site load without a trace; else the loads' nominal sum."
    )
    packs: dict[Id, SimPackSection] = Field(
        default_factory=dict, description="By pack id; else as measured at intake."
    )


class SiteFile(Section):
    """A whole site file."""

    site: SiteSection = Field(description="Identity, kind and papers.")
    grid: GridSection = Field(description="Point of common coupling.")
    loads: tuple[LoadSection, ...] = Field(min_length=1, description="Loads and feeders.")
    pv: PvSection | None = Field(default=None, description="PV, where there is any.")
    backup: BackupSection = Field(description="The promise to the critical load.")
    converters: tuple[ConverterSection, ...] = Field(min_length=1, description="Actuators.")
    packs: tuple[PackSection, ...] = Field(min_length=1, description="Packs.")
    devices: dict[Id, DeviceSection] = Field(description="Everything with an address, by id.")
    safety: SafetySection = Field(
        default_factory=SafetySection, description="Tightening of the table."
    )
    uplink: UplinkSection | None = Field(default=None, description="Where records are reported.")
    storage: StorageSection = Field(default_factory=StorageSection, description="Where records go.")
    metrics: MetricsSection = Field(
        default_factory=MetricsSection, description="Prometheus metrics."
    )
    simulation: SimulationSection = Field(
        default_factory=SimulationSection, description="Truth for the simulator."
    )
