"""Measured packs as they come from goods-in: one row, one pack."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from ems.health.grading.table import Column, Row, Table, read
from ems.site import Chemistry

MAX_SOH: Final = 1.2
COLUMNS: Final[Mapping[str, Column]] = MappingProxyType(
    {
        "pack_id": Column(text=True, required=True),
        "chemistry": Column(choices=tuple(Chemistry), required=True),
        "rated_ah": Column(0.1, 5000.0, "Ah", required=True),
        "nominal_v": Column(1.0, 1500.0, "V", required=True),
        "soh_frac": Column(0.0, MAX_SOH),
        "soh_frac_low": Column(0.0, MAX_SOH),
        "soh_frac_high": Column(0.0, MAX_SOH),
        "resistance_ratio": Column(0.3, 20.0, "times the value when new"),
        "capacity_spread_frac": Column(0.0, 1.0),
        "self_discharge_frac_per_month": Column(0.0, 1.0),
        "age_years": Column(0.0, 40.0, "years"),
        "cycles_efc": Column(0.0, 50_000.0, "equivalent full cycles"),
        "defect": Column(text=True),
        "note": Column(text=True),
        "grade": Column(text=True),
    }
)
"""Everything else in a table is passed over. ``defect`` is what an eye or a nose found
(swelling, leakage, smell); ``note`` is why an assessment was refused."""


@dataclass(frozen=True, slots=True)
class Pack:
    """One pack; ``None`` is not measured."""

    pack_id: str
    chemistry: Chemistry
    rated_ah: float
    nominal_v: float
    soh_frac: float | None = None
    soh_frac_low: float | None = None
    soh_frac_high: float | None = None
    resistance_ratio: float | None = None
    capacity_spread_frac: float | None = None
    self_discharge_frac_per_month: float | None = None
    age_years: float | None = None
    cycles_efc: float | None = None
    defect: str | None = None
    note: str | None = None
    grade: str | None = None

    @property
    def rated_kwh(self) -> float:
        return self.rated_ah * self.nominal_v / 1000.0


def load(path: Path) -> tuple[tuple[Pack, ...], Table]:
    """The packs of a CSV file, and the table they stand in for further complaints.

    Raises:
        FileErrors: the first thing that is wrong, with file, line and column.
    """
    table = read(path, COLUMNS)
    lines: dict[str, int] = {}
    packs = []
    for row in table.rows:
        pack = _pack(row)
        if pack.pack_id in lines:
            found = f"{pack.pack_id!r} again, first in line {lines[pack.pack_id]}"
            raise table.wrong(row, "pack_id", found, "each pack once")
        lines[pack.pack_id] = row.line
        bounds = [pack.soh_frac_low, pack.soh_frac, pack.soh_frac_high]
        known = [value for value in bounds if value is not None]
        if known != sorted(known):
            found = " ".join(f"{value:g}" for value in known)
            raise table.wrong(row, "soh_frac", found, "soh_frac_low <= soh_frac <= soh_frac_high")
        packs.append(pack)
    return tuple(packs), table


def _pack(row: Row) -> Pack:
    return Pack(
        pack_id=row.text("pack_id") or "",
        chemistry=Chemistry(row.text("chemistry") or ""),
        rated_ah=row.number("rated_ah") or 0.0,
        nominal_v=row.number("nominal_v") or 0.0,
        soh_frac=row.number("soh_frac"),
        soh_frac_low=row.number("soh_frac_low"),
        soh_frac_high=row.number("soh_frac_high"),
        resistance_ratio=row.number("resistance_ratio"),
        capacity_spread_frac=row.number("capacity_spread_frac"),
        self_discharge_frac_per_month=row.number("self_discharge_frac_per_month"),
        age_years=row.number("age_years"),
        cycles_efc=row.number("cycles_efc"),
        defect=row.text("defect"),
        note=row.text("note"),
        grade=row.text("grade"),
    )
