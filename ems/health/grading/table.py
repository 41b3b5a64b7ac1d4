"""Reads the small tables of the laboratory bench and says exactly where one is wrong.

``file:line:col: column: found X, would be right Y``, the first mistake only: after a
shifted column everything behind it is noise.
"""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from ems.yamltext import FileError, FileErrors

MOST_PERCENT: Final = 100.0


@dataclass(frozen=True, slots=True)
class Column:
    """What may stand in a column."""

    low: float = -math.inf
    high: float = math.inf
    unit: str = ""
    required: bool = False
    text: bool = False
    choices: tuple[str, ...] = ()

    @property
    def wanted(self) -> str:
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.text:
            return "text"
        unit = f" {self.unit}" if self.unit else ""
        if math.isinf(self.high):
            return f"a number from {self.low:g}{unit}" if math.isfinite(self.low) else "a number"
        return f"{self.low:g} to {self.high:g}{unit}"


@dataclass(frozen=True, slots=True)
class Row:
    """One row; absent columns and empty fields are ``None``."""

    line: int
    values: Mapping[str, float | str | None]

    def number(self, name: str) -> float | None:
        value = self.values[name]
        return value if isinstance(value, float) else None

    def text(self, name: str) -> str | None:
        value = self.values[name]
        return value if isinstance(value, str) else None


@dataclass(frozen=True, slots=True)
class Table:
    """A checked table."""

    path: Path
    rows: tuple[Row, ...]
    heading: tuple[str, ...]
    _cols: Mapping[int, tuple[int, ...]]

    def wrong(self, row: Row, name: str, found: str, right: str) -> FileErrors:
        """An error at a field of the table; raise the result."""
        at = self.heading.index(name) if name in self.heading else 0
        return _error(self.path, row.line, self._cols[row.line][at], name, found, right)

    def unused(self, columns: Mapping[str, Column]) -> tuple[str, ...]:
        """Headings that nothing reads, with the name that may have been meant."""
        words = []
        for name in self.heading:
            if name and name not in columns:
                near = get_close_matches(name, columns, n=1, cutoff=0.6)
                words.append(f"{name} (did you mean {near[0]}?)" if near else name)
        return tuple(words)


def read(path: Path, columns: Mapping[str, Column]) -> Table:
    """The table in a CSV file.

    Raises:
        FileErrors: the first thing that is wrong, with its place.
    """
    lines = _text(path).splitlines()
    starts = {number: _starts(line) for number, line in enumerate(lines, 1)}
    rows = _fields(path, lines)
    if not rows:
        raise _error(path, 1, 1, "", "an empty file", "a heading and rows")
    first, names = rows[0]
    heading = tuple(name.strip() for name in names)
    for at, name in enumerate(heading):
        if name and heading.index(name) != at:
            raise _error(path, first, starts[first][at], name, "this column twice", "once")
    _complete(path, first, heading, columns)
    if len(rows) == 1:
        raise _error(path, first + 1, 1, "", "no row below the heading", "at least one")
    found = []
    for line, fields in rows[1:]:
        if len(fields) != len(heading):
            right = f"{len(heading)} as in the heading"
            raise _error(path, line, 1, "", f"{len(fields)} fields", right)
        values: dict[str, float | str | None] = dict.fromkeys(columns)
        for at, (name, field) in enumerate(zip(heading, fields, strict=True)):
            if name in columns:
                values[name] = _value(
                    path, line, starts[line][at], name, field.strip(), columns[name]
                )
        found.append(Row(line, values))
    return Table(path, tuple(found), heading, starts)


def write(path: Path, heading: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Write a CSV file in one piece.

    Raises:
        FileErrors: the folder is not there or not writable.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(heading)
    writer.writerows(rows)
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(text.getvalue(), encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise FileErrors(
            (FileError(path, 1, 1, "", f"cannot be written: {error.strerror}"),)
        ) from None


def _error(path: Path, line: int, col: int, name: str, found: str, right: str) -> FileErrors:
    return FileErrors((FileError(path, line, col, name, f"found {found}, would be right {right}"),))


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
        raise FileErrors((FileError(path, 1, 1, "", message),)) from None
    except UnicodeDecodeError as error:
        line = bytes(error.object)[: error.start].count(b"\n") + 1
        raise _error(path, line, 1, "", "bytes that are no UTF-8", "UTF-8") from None


def _fields(path: Path, lines: list[str]) -> list[tuple[int, list[str]]]:
    rows = []
    for number, line in enumerate(lines, 1):
        # One record a line: a quote that runs on would swallow half a table.
        try:
            fields = next(csv.reader([line], strict=True), [])
        except csv.Error as error:
            raise _error(path, number, 1, "", f"broken CSV ({error})", "commas") from None
        if any(field.strip() for field in fields):
            if len(fields) == 1 and (mark := next((m for m in ";\t|" if m in line), "")):
                raise _error(path, number, 1, "", f"{mark!r} between columns", "a comma")
            rows.append((number, fields))
    return rows


def _starts(line: str) -> tuple[int, ...]:
    """Where each field of a line begins, first is 1."""
    starts, quoted = [1], False
    for at, letter in enumerate(line, 2):
        if letter == '"':
            quoted = not quoted
        elif letter == "," and not quoted:
            starts.append(at)
    return tuple(starts)


def _complete(
    path: Path, line: int, heading: tuple[str, ...], columns: Mapping[str, Column]
) -> None:
    for name, column in columns.items():
        if column.required and name not in heading:
            spare = [other for other in heading if other not in columns]
            near = get_close_matches(name, spare, n=1, cutoff=0.6)
            found = f"no such column but {near[0]!r}" if near else "no such column"
            raise _error(path, line, 1, name, found, column.wanted)


def _value(
    path: Path, line: int, col: int, name: str, field: str, column: Column
) -> float | str | None:
    if not field:
        if column.required:
            raise _error(path, line, col, name, "nothing", column.wanted)
        return None
    if column.text or column.choices:
        if column.choices and field not in column.choices:
            raise _error(path, line, col, name, repr(field), column.wanted)
        return field
    try:
        value = float(field)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise _error(path, line, col, name, repr(field), column.wanted)
    if not column.low <= value <= column.high:
        is_percent = column.high < value <= MOST_PERCENT and name.endswith("_frac")
        hint = f" ({field} percent is {value / MOST_PERCENT:g})" if is_percent else ""
        raise _error(path, line, col, name, field, column.wanted + hint)
    return value
