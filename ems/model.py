"""The chain of one control cycle, as frozen data.

``Reading → SiteSnapshot → SiteEstimate → SetpointRequest → GateDecision →
Command → CommandResult → CycleRecord``

Signs: what feeds the site bus is positive: battery discharge, PV, grid import.
``grid_power_w + battery_power_w + pv_power_w == load_power_w``; SoC falls when
``current_a > 0``. Absence is a state: a ``Reading`` without a value is ``None``
with a quality, never NaN, 0 or −1. Arrays are read-only and ordered like
``Site.packs`` (or its cells, converters, loads).
"""

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


class Quality(IntEnum):
    """How far a value may be believed; larger is worse."""

    GOOD = 0
    UNCERTAIN = 1
    """Fresh, but the device itself flags it or it failed a soft check."""
    STALE = 2
    """Older than its time to live; the value is the last one seen."""
    BAD = 3
    """Sentinel, out of its plausible range, or refused by the validating layer."""
    MISSING = 4
    """Never received, or the link is down."""


_WORST_GOOD: Final = int(Quality.UNCERTAIN)
"""A plain number, because looking an enum member up costs more than the comparison."""


class Link(IntEnum):
    """State of the connection to a device."""

    UP = 0
    SILENT = 1
    """Connected, or connecting, but no valid answer lately."""
    REFUSED = 2
    """Connection refused or closed by the peer: known at once."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One scalar from one device."""

    value: float | None
    at_s: float
    """Monotonic time at which the source sampled it (or we received it), s."""
    quality: Quality = Quality.GOOD

    @property
    def good(self) -> float | None:
        """The value when it may be acted on, else ``None``."""
        return self.value if self.quality <= _WORST_GOOD else None


MISSING: Final = Reading(None, 0.0, Quality.MISSING)


@dataclass(frozen=True, slots=True)
class CellBlock:
    """All reported cells of the site, pack after pack (see ``Site.layout``).

    Values whose quality is worse than ``UNCERTAIN`` are meaningless and must be
    masked; ages count from ``*_at_s``.
    """

    voltage_v: FloatArray
    """Cell voltages, V, shape ``(n_cells,)``."""
    voltage_at_s: FloatArray
    voltage_quality: NDArray[np.uint8]
    temp_c: FloatArray
    """Cell temperatures, degC, shape ``(n_temps,)``."""
    temp_at_s: FloatArray
    temp_quality: NDArray[np.uint8]


class Contactor(IntEnum):
    """Contactor state as the BMS reports it."""

    OPEN = 0
    PRECHARGE = 1
    CLOSED = 2
    FAULT = 3


@dataclass(frozen=True, slots=True)
class PackReading:
    """What one BMS says about its pack."""

    link: Link
    voltage_v: Reading
    current_a: Reading
    """Pack current, A, discharge positive."""
    soc_frac: Reading
    soh_frac: Reading
    charge_limit_a: Reading
    """CCL, A, >= 0."""
    discharge_limit_a: Reading
    """DCL, A, >= 0."""
    alarm_level: Reading
    """0 none, 1 notify, 2 reduce, 3 protection acted (order declared in the profile)."""
    contactor: Reading
    """A ``Contactor`` code."""
    heartbeat: Reading
    """Counter that must move; ``at_s`` is when it last changed."""


class ConverterState(IntEnum):
    """Operating state of a PCS or rectifier shelf."""

    OFF = 0
    STANDBY = 1
    RUN = 2
    ISLAND = 3
    """Grid-forming: power follows the load, not the set-point."""
    FAULT = 4


@dataclass(frozen=True, slots=True)
class ConverterReading:
    """What one PCS or rectifier shelf says about itself."""

    link: Link
    power_w: Reading
    """Battery-side contribution to the site bus, W, discharge positive."""
    setpoint_w: Reading
    """The set-point the device says it follows (read-back), W."""
    state: Reading
    """A ``ConverterState`` code."""
    dc_voltage_v: Reading
    """Voltage at the battery terminals or the −48 V bus, magnitude, V."""
    dc_current_a: Reading
    """Battery current seen by the converter, A, discharge positive."""


@dataclass(frozen=True, slots=True)
class GridReading:
    """Point of common coupling."""

    link: Link
    power_w: Reading
    """Active power, W, import positive."""
    voltage_v: Reading
    frequency_hz: Reading
    import_wh: Reading
    """Import energy counter, Wh."""


class RequestKind(StrEnum):
    """What an operator may ask through the audited door."""

    ACK = "ack"
    RESET = "reset"
    ARM = "arm"
    DISARM = "disarm"
    SETPOINT = "setpoint"
    NOTICE = "notice"


@dataclass(frozen=True, slots=True)
class OperatorRequest:
    """One request from the door, logged durably before a cycle sees it."""

    id: str
    kind: RequestKind
    actor: str
    reason: str
    target: str = ""
    """Cause id or pack id for ``ack`` and ``reset``."""
    value: float = 0.0
    """Set-point in W (discharge positive), or notice level in hours of reserve."""
    duration_s: float = 0.0
    """How long a set-point or a notice stays in force."""


@dataclass(frozen=True, slots=True)
class SiteSnapshot:
    """Everything known at one instant; the only input a cycle thinks about."""

    now_s: float
    """Monotonic, s."""
    now_utc: datetime
    clock_ok: bool
    cells: CellBlock
    packs: tuple[PackReading, ...]
    converters: tuple[ConverterReading, ...]
    grid: GridReading
    load_power_w: tuple[Reading, ...]
    """Per load of the site; ``MISSING`` for a load without a meter."""
    load_on: tuple[bool | None, ...]
    """Whether each sheddable load is connected, as last reported."""
    pv_power_w: Reading
    lateness_s: float = 0.0
    """How late this cycle started against its schedule, s (cause C44)."""
    requests: tuple[OperatorRequest, ...] = ()
    results: tuple["CommandResult", ...] = ()
    """Outcomes of earlier commands that arrived since the last snapshot."""


@dataclass(frozen=True, slots=True)
class SiteEstimate:
    """What the EMS believes about each pack; arrays of shape ``(n_packs,)``."""

    soc_frac: FloatArray
    """SoC of the pack, which is that of its lowest cell, 0..1."""
    soc_sigma_frac: FloatArray
    soc_known: BoolArray
    """False when no trustworthy SoC exists: treat as empty *and* full."""
    weakest_cell: IntArray
    """Index within the pack of the reported cell that ends a discharge first."""
    fullest_cell: IntArray
    """Index within the pack of the reported cell that ends a charge first."""
    capacity_ah: FloatArray
    """Usable capacity of the weakest series group, Ah."""
    soh_frac: FloatArray
    """Weakest group's capacity / rated."""
    soh_sigma_frac: FloatArray
    resistance_ratio: FloatArray
    """Worst group's R(25 degC) / new; NaN-free: 0 where no reference is known."""
    resistance_ohm: FloatArray
    """Pack resistance at the present temperature, ohm."""
    ocv_v: FloatArray
    """Pack open-circuit voltage, V."""
    ocv_cell_min_v: FloatArray
    """OCV of the weakest group, V."""
    ocv_cell_max_v: FloatArray
    """OCV of the fullest group, V."""
    group_resistance_max_ohm: FloatArray
    """Resistance of the worst series group, ohm."""
    voltage_v: FloatArray
    """Pack voltage used for A <-> W conversion, V, > 0."""
    current_a: FloatArray
    """Pack current, A, discharge positive; 0 where unknown."""
    soc_max_frac: FloatArray
    """SoC of the fullest reported cell: what a charge must stop for."""


@dataclass(frozen=True, slots=True)
class BackupEstimate:
    """Energy that each pack can still move, and how long the critical load is carried."""

    pack_energy_wh: FloatArray
    """Deliverable per pack until its weakest group is at its floor, Wh at the terminals."""
    pack_headroom_wh: FloatArray
    """Chargeable per pack until its fullest group is at its ceiling, Wh at the terminals."""
    energy_wh: float
    """Central estimate of deliverable energy at the site bus, Wh."""
    energy_low_wh: float
    """The same at the site's stated confidence, Wh."""
    hours: float
    hours_low: float
    required_wh: float
    """Energy the promise needs at this moment, Wh (raised by a notice)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The health-tightened envelope per pack, arrays of shape ``(n_packs,)``.

    These are the limits of continuous operation; whether a cause forbids more
    is the gate's business.
    """

    charge_w: FloatArray
    """Largest charge power at the pack terminals, W, >= 0."""
    discharge_w: FloatArray
    charge_a: FloatArray
    discharge_a: FloatArray
    soc_low_frac: FloatArray
    """SoC of the weakest group at which discharge ends."""
    soc_high_frac: FloatArray
    health: FloatArray
    """Health index h, 0 (worst accepted) .. 1 (as new)."""
    charge_reason: tuple[str, ...]
    """The one term that binds, per pack, e.g. ``cold``, ``bms_limit``, ``current``."""
    discharge_reason: tuple[str, ...]


class Source(StrEnum):
    """Who wants a set-point."""

    PLAN = "plan"
    RULES = "rules"
    BACKUP = "backup"
    OPERATOR = "operator"
    HOLD = "hold"


@dataclass(frozen=True, slots=True)
class Standing:
    """What the gate held in the previous cycle and the layers before it must respect."""

    grid_lost: bool
    """The one verdict on an outage; nothing else judges it from readings."""
    discharge_ok: tuple[bool, ...]
    """Per pack: no cause stops its discharge or trips it."""


@dataclass(frozen=True, slots=True)
class SetpointRequest:
    """What dispatch would like; the gate can only give less."""

    converter_power_w: FloatArray
    """Per converter at the site bus, W, discharge positive, shape ``(n_converters,)``.
    On a direct bus: what the battery should carry (+) or take (−)."""
    load_on: tuple[bool, ...]
    """Wish per load; only sheddable loads are ever switched."""
    source: Source
    reason: str
    """One sentence for the operator: why this power now."""
    demand_window_w: float
    """Mean import so far in the running demand window, W."""
    demand_target_w: float
    """Import level the plan holds, W."""
    plan_level: int
    """Level of the fallback chain that made the plan in force (1 best .. 6 safe)."""
    plan_age_s: float
    incurred_peak_w: float = 0.0
    """Largest completed window mean of the running billing month, W."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A dispatch plan: what the planner process answers."""

    id: str
    made_at_utc: datetime
    start_utc: datetime
    """Start of the first step; clock-aligned to ``step_s``."""
    step_s: float
    level: int
    """Fallback level that produced it: 1 PIQP, 2 Clarabel, 3 HiGHS, 4 shifted, 5 rules, 6 safe."""
    solver: str
    peak_target_w: float
    """Import level to hold in every demand window, W."""
    converter_power_w: FloatArray
    """Shape ``(n_steps, n_converters)``, W, discharge positive."""
    grid_power_w: FloatArray
    """Planned import, W, shape ``(n_steps,)``."""
    load_power_w: FloatArray
    """Forecast net of nothing: site load, W, shape ``(n_steps,)``."""
    pv_power_w: FloatArray
    reserve_slack_wh: float
    """How much of the backup reserve the plan had to give up, Wh; 0 normally."""
    solve_s: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """What control tells the planner; everything else the planner keeps itself."""

    id: str
    now_utc: datetime
    energy_wh: FloatArray
    """Energy above the discharge floor per pack, Wh at the terminals."""
    headroom_wh: FloatArray
    charge_w: FloatArray
    """Present charge limit per pack, W."""
    discharge_w: FloatArray
    reserve_wh: float
    """Energy to keep for the backup promise at the site bus, Wh."""
    incurred_peak_w: float
    """Largest window mean of the running billing month, W."""
    window_w: float
    """Mean import so far in the running window, W."""
    window_elapsed_frac: float
    converter_power_w: FloatArray
    """Set-points now in force, W."""
    history: tuple[tuple[datetime, float | None, float | None], ...]
    """Completed windows the planner has not seen: start UTC, mean load W, mean PV W."""


class Mode(StrEnum):
    """State of the site's safety state machine."""

    INIT = "init"
    SELFTEST = "selftest"
    STANDBY = "standby"
    PRECHARGE = "precharge"
    RUN = "run"
    BACKUP = "backup"
    STOPPED = "stopped"
    TRIP = "trip"
    TRIPPED = "tripped"


class ContactorDemand(IntEnum):
    """Per pack; the strongest demand wins: close < hold < open."""

    CLOSE = 0
    HOLD = 1
    OPEN = 2


@dataclass(frozen=True, slots=True)
class ActiveCause:
    """An interlock row that acts, or is latched, right now."""

    cause: str
    """Row id, such as ``C02``."""
    name: str
    """Fault name, such as ``cell_voltage_low``."""
    level: int
    """1 warn .. 5 site."""
    pack: int | None
    """Index of the pack, ``None`` for the site."""
    detail: str
    """What was seen, with the cell named where one decides."""
    since_s: float
    first_out: bool
    latched: bool
    acknowledged: bool = False


@dataclass(frozen=True, slots=True)
class GateDecision:
    """What is allowed, per converter and per pack, and why."""

    mode: Mode
    low_w: FloatArray
    """Lowest allowed converter power, W, <= 0, shape ``(n_converters,)``."""
    high_w: FloatArray
    """Highest allowed converter power, W, >= 0."""
    power_w: FloatArray
    """The request, projected and ramped: always within [low_w, high_w]."""
    contactor: tuple[ContactorDemand, ...]
    load_on: tuple[bool, ...]
    pack_low_w: FloatArray
    """Allowed charge per pack after every rule, W, <= 0, shape ``(n_packs,)``."""
    pack_high_w: FloatArray
    pack_reason: tuple[str, ...]
    """Per pack: the cause or envelope term that binds now; empty when none."""
    causes: tuple[ActiveCause, ...]
    refusals: tuple[tuple[str, str], ...] = ()
    """(request id, reason) of operator requests refused this cycle."""
    granted: tuple[str, ...] = ()
    """Ids of operator requests granted this cycle."""


@dataclass(frozen=True, slots=True)
class SetPower:
    """Battery power of a PCS, W, discharge positive."""

    converter: int
    power_w: float


@dataclass(frozen=True, slots=True)
class SetRectifier:
    """Rectifier shelf: how much it may deliver and how fast the packs may charge."""

    converter: int
    power_limit_w: float
    """DC output limit, W; below the load the packs carry the rest."""
    charge_limit_a: float


@dataclass(frozen=True, slots=True)
class SetContactor:
    """Contactor of one pack."""

    pack: int
    close: bool


@dataclass(frozen=True, slots=True)
class SetLoad:
    """Connection of one sheddable load."""

    load: int
    on: bool


Command = SetPower | SetRectifier | SetContactor | SetLoad


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What became of a command."""

    command: Command
    ok: bool
    reason: str
    """Empty when ok."""
    at_s: float


@dataclass(frozen=True, slots=True)
class CycleRecord:
    """Inputs and outputs of one ``cycle.step``."""

    seq: int
    snapshot: SiteSnapshot
    estimate: SiteEstimate
    limits: Limits
    backup: BackupEstimate
    request: SetpointRequest
    decision: GateDecision
    commands: tuple[Command, ...]
