"""The interlock table compiled for one site: every (row, target) pair as one point.

A *point* is one row applied to one pack, converter or the site. All points are
evaluated together as arrays ``[point, level]``; the sign of LOW rows is turned so
that "bad" is always ``value >= limit``.
"""

from dataclasses import dataclass

import numpy as np

from ems.model import FloatArray, IntArray
from ems.safety.ratings import Ratings
from ems.safety.row import Latch, Row, SampleClock, Scope, Side, Signal, effect_of, samples_of
from ems.safety.table import ROW_OF_ID, ROWS
from ems.site import Chemistry, Site

_AGES = (Signal.BMS_AGE_S, Signal.PCS_AGE_S, Signal.METER_AGE_S)


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """Constants of one site; arrays of shape ``(n_points, 4)`` unless said otherwise."""

    rows: tuple[Row, ...]
    """Row of each point."""
    targets: tuple[int, ...]
    """Pack, converter or 0 of each point, by its row's scope."""
    target_ids: tuple[str, ...]
    """Id of that pack, converter or site."""
    packs: tuple[tuple[int, ...], ...]
    """Packs that each point acts on."""
    value_index: IntArray
    """Where each level's value lies in the flat vector of signals."""
    clock_index: IntArray
    """Where each point's newest sample time lies in the flat vector, shape ``(n_points,)``."""
    sign: FloatArray
    """+1 where high is bad, −1 where low is bad, shape ``(n_points, 1)``."""
    base: FloatArray
    """Limit at h = 1 times sign; +inf where the row has no such level."""
    slope: FloatArray
    """Added to ``base`` times (1 − h)."""
    health_pack: IntArray
    """Pack whose h counts, shape ``(n_points,)``."""
    at_once: FloatArray
    """Past the TRIP limit by this much one sample is enough, shape ``(n_points,)``."""
    band: FloatArray
    """Hysteresis, shape ``(n_points, 1)``."""
    clear_s: FloatArray
    """Shape ``(n_points, 1)``."""
    need: FloatArray
    """Fresh bad samples that raise the level."""
    effect: IntArray
    effect_backup: IntArray
    auto: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
    """Levels that come back by themselves."""
    ratings: Ratings
    rated_charge_w: tuple[float, ...]
    """Per converter, W."""
    rated_discharge_w: tuple[float, ...]

    @property
    def n_points(self) -> int:
        return len(self.rows)

    def point(self, row_id: str, target_id: str) -> int | None:
        """Index of a row's instance, ``None`` when the site does not have it."""
        for k, (row, its_target) in enumerate(zip(self.rows, self.target_ids, strict=True)):
            if row.id == row_id and its_target == target_id:
                return k
        return None


def signal_count(signal: Signal, site: Site) -> int:
    """Length of a signal's part in the flat vector."""
    if signal.name.startswith("PCS"):
        return len(site.converters)
    if signal in (Signal.METER_AGE_S, Signal.GRID_V_PU, Signal.GRID_HZ, Signal.CYCLE_PERIODS):
        return 1
    return site.n_packs


def clock_count(clock: SampleClock, site: Site) -> int:
    """Length of a sample clock's part in the flat vector."""
    if clock is SampleClock.CONVERTER:
        return len(site.converters)
    return 1 if clock in (SampleClock.METER, SampleClock.CYCLE) else site.n_packs


def thresholds(row: Row, chemistry: Chemistry, site: Site) -> list[float]:
    """A row's limits at h = 1 with the site's tightening, +-inf where there is no level.

    Raises:
        ValueError: an override loosens, names a level the row does not have, or breaks
            the order of the levels.
    """
    sign = 1.0 if row.side is Side.HIGH else -1.0
    absent = sign * np.inf
    limits = [absent if v is None else float(v) for v in row.limit[chemistry]]
    if row.signal[0] in _AGES:
        # An age below three polls of the point says nothing.
        limits = [max(v, 3.0 * site.cycle_s) for v in limits]
    for override in site.safety.overrides:
        if override.cause != row.id:
            continue
        where = f"safety override of {row.id} level {override.level}"
        if override.level not in (1, 2, 3, 4) or not np.isfinite(limits[override.level - 1]):
            raise ValueError(f"{where}: the row has no such level for {chemistry}")
        present = limits[override.level - 1]
        if sign * override.value > sign * present:
            raise ValueError(
                f"{where}: {override.value:g} {row.unit} is looser than {present:g} {row.unit} "
                f"for {chemistry}; a site can only tighten"
            )
        limits[override.level - 1] = override.value
    _check_order(row, chemistry, [sign * v for v in limits], sign)
    return limits


def _check_order(row: Row, chemistry: Chemistry, limits: list[float], sign: float) -> None:
    """Levels must rise at full health and at none, and leave room for a derate."""
    for slack in (0.0, 1.0):
        tighten = [sign * slack * (v or 0.0) for v in row.tighten[chemistry]]
        tight = [v + t for v, t in zip(limits, tighten, strict=True)]
        finite = [v for v in tight if np.isfinite(v)]
        no_span = row.graded and np.isfinite(tight[2]) and tight[1] >= tight[2]
        if finite != sorted(finite) or no_span:
            raise ValueError(
                f"{row.id} for {chemistry}: levels out of order at h = {1 - slack:g} "
                "after the site's overrides"
            )


def may_be_waived(row: Row) -> bool:
    """Whether a site file may declare the row not applicable, with its reason.

    What watches cells, and the links to them, always applies.
    """
    return row.scope is not Scope.PACK or row.id in ("C22", "C32", "C32b", "C32c")


def check_safety_section(site: Site) -> None:
    """Refuse a ``safety`` section that names unknown or indispensable rows.

    Raises:
        ValueError: with the row and what would be right.
    """
    for override in site.safety.overrides:
        if override.cause not in ROW_OF_ID:
            raise ValueError(f"safety override: no interlock row {override.cause!r}")
    for cause, reason in site.safety.not_applicable.items():
        if cause not in ROW_OF_ID:
            raise ValueError(f"not_applicable: no interlock row {cause!r}")
        if not may_be_waived(ROW_OF_ID[cause]):
            raise ValueError(f"not_applicable: {cause} watches the cells and always applies")
        if not reason.strip():
            raise ValueError(f"not_applicable: {cause} needs a reason")


def compile_table(site: Site) -> Program:
    """Every applicable row for every pack, converter and the site itself.

    Raises:
        ValueError: see ``thresholds`` and ``check_safety_section``.
    """
    check_safety_section(site)
    value_start = _starts([signal_count(s, site) for s in Signal])
    clock_start = _starts([clock_count(c, site) for c in SampleClock])
    signals, clocks = list(Signal), list(SampleClock)
    points = [
        (row, target, packs)
        for row in ROWS
        if row.id not in site.safety.not_applicable
        for target, packs in _targets(row, site)
    ]
    chemistry = [site.packs[packs[0]].chemistry for _, _, packs in points]
    sign = [1.0 if row.side is Side.HIGH else -1.0 for row, _, _ in points]

    def per_level(cell: object) -> IntArray:
        return np.array(cell, dtype=np.int64).reshape(-1, 4)

    return Program(
        rows=tuple(row for row, _, _ in points),
        targets=tuple(target for _, target, _ in points),
        target_ids=tuple(_target_id(row, target, site) for row, target, _ in points),
        packs=tuple(packs for _, _, packs in points),
        value_index=per_level(
            [
                [value_start[signals.index(s)] + target for s in row.signal]
                for row, target, _ in points
            ]
        ),
        clock_index=np.array(
            [
                clock_start[clocks.index(row.clock)]
                + (target if clock_count(row.clock, site) > 1 else 0)
                for row, target, _ in points
            ],
            dtype=np.int64,
        ),
        sign=np.array(sign).reshape(-1, 1),
        base=np.array(
            [
                [s * v for v in thresholds(row, c, site)]
                for (row, _, _), c, s in zip(points, chemistry, sign, strict=True)
            ]
        ),
        slope=np.array(
            [
                [s * (v or 0.0) for v in row.tighten[c]]
                for (row, _, _), c, s in zip(points, chemistry, sign, strict=True)
            ]
        ),
        health_pack=np.array([packs[0] for _, _, packs in points], dtype=np.int64),
        at_once=np.array([row.at_once_beyond or np.inf for row, _, _ in points]),
        band=np.array([row.band for row, _, _ in points]).reshape(-1, 1),
        clear_s=np.array([row.clear_s for row, _, _ in points]).reshape(-1, 1),
        need=np.array(
            [[samples_of(d, site.cycle_s) for d in row.debounce] for row, _, _ in points],
            dtype=np.float64,
        ),
        effect=per_level([[effect_of(e) for e in row.effect] for row, _, _ in points]),
        effect_backup=per_level(
            [[effect_of(e) for e in row.backup_effect or row.effect] for row, _, _ in points]
        ),
        auto=np.array([[latch == Latch.AUTO for latch in row.latch] for row, _, _ in points]),
        ratings=Ratings.of(site),
        rated_charge_w=tuple(c.rated_charge_w for c in site.converters),
        rated_discharge_w=tuple(c.rated_discharge_w for c in site.converters),
    )


def _starts(counts: list[int]) -> list[int]:
    return [sum(counts[:i]) for i in range(len(counts))]


def _targets(row: Row, site: Site) -> list[tuple[int, tuple[int, ...]]]:
    if row.scope is Scope.PACK:
        return [(i, (i,)) for i in range(site.n_packs)]
    if row.scope is Scope.CONVERTER:
        return [(i, converter.packs) for i, converter in enumerate(site.converters)]
    return [(0, tuple(range(site.n_packs)))]


def _target_id(row: Row, target: int, site: Site) -> str:
    if row.scope is Scope.PACK:
        return site.packs[target].id
    return site.converters[target].id if row.scope is Scope.CONVERTER else site.id
