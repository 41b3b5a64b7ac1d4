"""The vocabulary of the interlock table: what one row says, and in which words.

Levels 1..4 are WARN, DERATE, STOP and TRIP. Every per-level tuple in a ``Row``
has four entries in that order. Effects and latch classes are written in the
short codes that reviewers know from cause-and-effect matrices.
"""

from dataclasses import dataclass
from enum import StrEnum
from math import ceil
from typing import Final

from ems.site import Chemistry

LEVELS: Final = (1, 2, 3, 4)
Four = tuple[float | None, float | None, float | None, float | None]
"""Threshold per level; ``None`` where the row has no such level."""


class Signal(StrEnum):
    """One measured or derived quantity that a row compares with its limit."""

    CELL_V_MAX = "highest cell voltage"
    CELL_V_MIN = "lowest cell voltage"
    CELL_V_MIN_REST = "lowest cell voltage, corrected for its own resistive drop"
    TEMP_MAX = "hottest cell"
    TEMP_MAX_IDLE = "hottest cell while charging or at rest"
    TEMP_MIN = "coldest cell"
    TEMP_MIN_CHARGING = "coldest cell while charging above C/50"
    TEMP_MIN_DISCHARGING = "coldest cell while discharging above C/50"
    CHARGE_RATIO = "charge current above tolerance / rated for this health"
    DISCHARGE_RATIO = "discharge current above tolerance / rated for this health"
    SOC_GAP = "difference between the SoC of the BMS and of the EMS"
    SOC_GAP_UNSURE = "difference between the SoC of the BMS and of the EMS, itself unsure"
    UNKNOWN_COUNT = "unknown readings (temperature or alarm word 1, voltage or current 2)"
    FROZEN_S = "whole frame repeated while current flows"
    STUCK_FRAC = "charge moved / capacity while all but the counter repeated"
    CELLS_UNSEEN_V = "change that current and charge imply, and no cell voltage shows"
    BMS_AGE_S = "BMS silent or heartbeat unchanged"
    BMS_AGE_TRIP_S = "BMS silent (240 s less counted for a healthy pack in backup)"
    BMS_REFUSED = "BMS connection refused, closed or never made"
    BMS_ALARM = "alarm level of the BMS"
    PCS_AGE_S = "converter silent"
    PCS_AGE_FLOWING_S = "converter silent while current flows"
    PCS_REFUSED = "converter connection refused, closed or never made"
    PCS_FAULT = "converter reports a fault"
    PCS_DEVIATION = "power outside the commands of the last seconds / rated"
    PCS_WRONG = "power against the commanded sign / (2 % of rated or 2 A)"
    METER_AGE_S = "meter silent"
    GRID_V_PU = "grid voltage / nominal"
    GRID_HZ = "grid frequency, referred to a nominal 50 Hz"
    CYCLE_PERIODS = "length of the control cycle"


class Scope(StrEnum):
    """To whom one instance of a row belongs."""

    PACK = "pack"
    CONVERTER = "converter"
    SITE = "site"


class SampleClock(StrEnum):
    """Whose new samples a row's debounce counts."""

    CELLS = "cell voltages"
    TEMPS = "cell temperatures"
    PACK = "any reading of the pack"
    CONVERTER = "any reading of the converter"
    METER = "any reading of the meter"
    CYCLE = "control cycles"


class Side(StrEnum):
    """On which side of its limit a value is bad; the limit itself is bad."""

    HIGH = "≥"
    LOW = "≤"


class Latch(StrEnum):
    """Who may bring a level back after it acted."""

    AUTO = "A"
    """By itself: value beyond the hysteresis for the clear time."""
    OPERATOR = "O"
    """Remote acknowledgement after the cause is clear."""
    PERSISTENT = "P"
    """Survives a reboot; named operator, reason, cause clear, <= 3 resets in 24 h."""
    TWO_PERSONS = "P2"
    """Two persons and an inspection record on site."""
    RETIRE = "Z"
    """Until a bench test says otherwise."""


class Effect:
    """What a level takes away, as bits; every effect only narrows what is allowed.

    Plain integers: the gate tests them for every pack in every cycle, and an
    ``IntFlag`` test costs twenty times as much.
    """

    WARN: Final = 0
    DERATE_CHARGE: Final = 1
    DERATE_DISCHARGE: Final = 2
    STOP_CHARGE: Final = 4
    STOP_DISCHARGE: Final = 8
    TRIP: Final = 16
    """Converter to 0 W, then the string's contactor open."""
    TRIP_ALL: Final = 32
    """The same for every string."""
    NO_CLOSE: Final = 64
    QUARANTINE: Final = 128


EFFECT_OF_CODE: Final = {
    "W": Effect.WARN,
    "Dc": Effect.DERATE_CHARGE,
    "Dd": Effect.DERATE_DISCHARGE,
    "Db": Effect.DERATE_CHARGE | Effect.DERATE_DISCHARGE,
    "Sc": Effect.STOP_CHARGE,
    "Sd": Effect.STOP_DISCHARGE,
    "Sb": Effect.STOP_CHARGE | Effect.STOP_DISCHARGE,
    "T": Effect.TRIP,
    "TA": Effect.TRIP | Effect.TRIP_ALL,
    "N": Effect.NO_CLOSE,
    "Q": Effect.QUARANTINE,
}


@dataclass(frozen=True, slots=True)
class Row:
    """One cause: what is watched, where it acts, what it does, how it comes back."""

    id: str
    name: str
    """Named as a fault: true means act."""
    en: str
    zh: str
    scope: Scope
    signal: tuple[Signal, Signal, Signal, Signal]
    clock: SampleClock
    side: Side
    unit: str
    limit: dict[Chemistry, Four]
    """Thresholds at health index h = 1, in ``unit``."""
    tighten: dict[Chemistry, Four]
    """Added to the threshold, multiplied by 1 − h."""
    debounce: tuple[str, str, str, str]
    """``"2n"``: fresh samples; ``"5s"``: seconds, at least two samples."""
    effect: tuple[str, str, str, str]
    """Effect codes joined by ``+``; ``-`` where the row has no such level."""
    latch: tuple[str, str, str, str]
    band: float
    """Hysteresis: the cause is clear beyond limit ∓ band, in ``unit``."""
    clear_s: float
    """Time beyond the hysteresis before a level is clear, s."""
    hazard: str
    missing: str
    """What happens while the signal is unknown."""
    source: str
    """Provenance tag and confidence: [F] found, [M] memory of a standard, [E] judgement."""
    at_once_beyond: float | None = None
    """Past the TRIP limit by this much, one sample is enough."""
    backup_effect: tuple[str, str, str, str] | None = None
    """Effects while the grid is lost, where they differ."""
    graded: bool = False
    """True: the envelope already derates linearly from level 2 to level 3, so the gate
    adds no step of its own. False: DERATE halves the envelope."""


def effect_of(codes: str) -> int:
    """Effects of a cell of the table, such as ``"T+N+Q"``; ``"-"`` has none.

    Raises:
        KeyError: a code that the table's legend does not list.
    """
    effect = Effect.WARN
    for code in codes.split("+"):
        if code != "-":
            effect |= EFFECT_OF_CODE[code]
    return effect


def samples_of(debounce: str, poll_s: float) -> int:
    """Number of fresh bad samples that a debounce asks for, >= 1.

    Seconds become ``ceil(s / poll)`` but never fewer than two: one sample may be
    a transmission error. A row that must act on one sample says ``"1n"``.
    """
    number, unit = float(debounce[:-1]), debounce[-1]
    if unit == "n":
        return max(1, int(number))
    return max(2, ceil(number / poll_s))
