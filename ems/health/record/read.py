"""Records of voltage and current read from CSV: one cell, one or many tests in a file."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ems.health.goodsin.tables import TableError, place
from ems.model import FloatArray

TIMES: Final = ("t_s", "time_s")
TEMPERATURES: Final = ("temperature_c", "ambient_c")
KEYS: Final = ("cell_id", "discharge_no", "cycle", "record")
WRONG_UNITS: Final = {
    "t_s": ("t_min", "time_min", "t_h", "time_h", "t_ms", "time_ms", "minutes", "hours"),
    "current_a": ("current_ma", "i_ma", "current_ka"),
    "voltage_v": ("voltage_mv", "v_mv", "u_mv"),
}


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """One test of one cell, in order of time; arrays of shape ``(n,)``."""

    path: Path
    name: str
    """Key columns, such as ``B0005 4``; empty for a file of one record."""
    lines: NDArray[np.int64]
    """Line of the file of each row."""
    t_s: FloatArray
    current_a: FloatArray
    """Discharge positive."""
    voltage_v: FloatArray
    temp_c: FloatArray | None
    """None when the file has none."""
    time_column: str
    temp_column: str
    sign: float
    """What the file's current was multiplied by: -1 if it counts charging positive."""
    skipped: int
    """Rows left out because a value was empty."""


def read(path: Path, charge_positive: bool) -> list[Record]:
    """The records of a file, in order of their first row.

    Args:
        path: ``.csv`` or ``.csv.gz``, with ``t_s`` or ``time_s``, ``current_a``, ``voltage_v``
            and perhaps ``temperature_c`` or ``ambient_c``, ``cell_id``, ``discharge_no``,
            ``cycle``, ``record``.
        charge_positive: Whether the file counts charging current positive.

    Raises:
        TableError: the file cannot be read, a column is missing or holds no numbers.
    """
    table = _text(path)
    lines = np.arange(2, len(table) + 2)
    filled = (table != "").any(axis=1).to_numpy()
    table, lines = table[filled].reset_index(drop=True), lines[filled]
    if table.empty:
        raise TableError(place(path, 1, "-", "no rows", "a heading and rows"))
    time = _column(path, table, TIMES)
    current, voltage = _column(path, table, ("current_a",)), _column(path, table, ("voltage_v",))
    heat = next(
        (name for name in TEMPERATURES if name in table and (table[name] != "").any()), None
    )
    values = {
        name: _numbers(path, table, name, lines)
        for name in (time, current, voltage, heat)
        if name is not None
    }
    if np.isnan(values[time]).any():
        line = int(lines[int(np.isnan(values[time]).argmax())])
        raise TableError(place(path, line, time, "an empty cell", "a number in s"))
    sign = -1.0 if charge_positive else 1.0
    records = []
    for name, rows in _groups(table):
        known = np.isfinite(values[current][rows]) & np.isfinite(values[voltage][rows])
        kept = rows[known]
        if 2 * kept.size < rows.size:
            empty = current if np.isnan(values[current][rows]).sum() * 2 > rows.size else voltage
            line = int(lines[rows[0]])
            raise TableError(place(path, line, empty, "mostly empty cells", "a number in each row"))
        records.append(
            Record(
                path=path,
                name=name,
                lines=lines[kept],
                t_s=values[time][kept],
                current_a=sign * values[current][kept],
                voltage_v=values[voltage][kept],
                temp_c=None if heat is None else _filled(values[heat][kept]),
                time_column=time,
                temp_column=heat or "",
                sign=sign,
                skipped=int(rows.size - kept.size),
            )
        )
    return records


def _text(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(
            path, dtype=str, keep_default_na=False, skip_blank_lines=False, encoding="utf-8-sig"
        )
    except FileNotFoundError:
        raise TableError(f"{path}: no file there") from None
    except pd.errors.EmptyDataError:
        raise TableError(place(path, 1, "-", "an empty file", "a heading and rows")) from None
    except (OSError, EOFError, UnicodeDecodeError, pd.errors.ParserError) as error:
        raise TableError(f"{path}: cannot be read as CSV: {str(error).strip()}") from None
    table.columns = pd.Index([str(name).strip() for name in table.columns])
    if not isinstance(table.index, pd.RangeIndex):
        raise TableError(place(path, 2, "-", "more fields than the heading", "as many"))
    return table.fillna("")


def _column(path: Path, table: pd.DataFrame, names: tuple[str, ...]) -> str:
    for name in names:
        if name in table:
            return name
    columns = [str(name) for name in table.columns]
    if len(columns) == 1 and any(mark in columns[0] for mark in ";\t|"):
        raise TableError(place(path, 1, "-", "another mark between columns", "a comma"))
    wrong = next((name for name in columns if name.lower() in WRONG_UNITS[names[0]]), None)
    unit = names[-1].rsplit("_", 1)[1]
    found = "no such column" if wrong is None else f"another unit, {wrong!r}"
    shown = " or ".join(names)
    raise TableError(place(path, 1, shown, found, f"{shown}, in {unit}"))


def _numbers(path: Path, table: pd.DataFrame, name: str, lines: NDArray[np.int64]) -> FloatArray:
    texts = table[name].str.strip()
    numbers = pd.to_numeric(texts, errors="coerce").to_numpy(dtype=np.float64, copy=True)
    bad = ~np.isfinite(numbers) & (texts != "").to_numpy() & (texts.str.lower() != "nan").to_numpy()
    if bad.any():
        row = int(bad.argmax())
        raise TableError(place(path, int(lines[row]), name, repr(texts.iloc[row]), "a number"))
    return numbers


def _groups(table: pd.DataFrame) -> Iterator[tuple[str, NDArray[np.intp]]]:
    keys = [key for key in KEYS if key in table]
    if not keys:
        yield "", np.arange(len(table))
        return
    for name, rows in table.groupby(keys, sort=False).indices.items():
        yield " ".join(name if isinstance(name, tuple) else (str(name),)), np.sort(rows)


def _filled(temps: FloatArray) -> FloatArray | None:
    """Temperatures with empty cells interpolated; None without any."""
    known = np.isfinite(temps)
    if not known.any():
        return None
    rows = np.arange(temps.size)
    return np.interp(rows, rows[known], temps[known])
