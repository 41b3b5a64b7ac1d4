"""Laboratory tables in and out: one clear error instead of a wrong answer.

Read as text first, so that an error can name file, line and column, what was found
and what would be right. Written in one piece or not at all.
"""

import csv
import gzip
import io
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import pandas as pd

from ems.health.goodsin.task import Column, Floats, Task

MOSTLY = 0.5
"""A column with more than this share of impossible values is wrong as a whole."""
FACTORS = (
    (1e-3, "thousandths (mV, mA or mAh instead of V, A or Ah)"),
    (1e-2, "percent instead of a fraction"),
    (1e2, "a fraction instead of percent"),
    (1e3, "kilo-units (such as kΩ, or Ah instead of mAh)"),
    (60.0, "minutes instead of seconds"),
    (3600.0, "hours instead of seconds"),
    (-1.0, "the sign reversed"),
)
MOST_SHOWN = 5


class TableError(ValueError):
    """A table that cannot be used; the text names file, line and column."""


@dataclass(frozen=True, slots=True)
class Read:
    """A table as read, numbers as float with NaN for empty or impossible."""

    table: pd.DataFrame
    lines: tuple[int, ...]
    """Line of the file of each row."""
    notes: Mapping[int, str]
    """Rows with an impossible value, and which."""


def place(path: Path, line: int, column: str, found: str, right: str) -> str:
    """``file:line: column: found X, would be right Y``."""
    return f"{path}:{line}: {column}: found {found}, would be right {right}"


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
        return (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8-sig")
    except FileNotFoundError:
        raise TableError(f"{path}: no file there") from None
    except (IsADirectoryError, PermissionError) as error:
        raise TableError(f"{path}: cannot be read: {error.strerror}") from None
    except (gzip.BadGzipFile, EOFError):
        raise TableError(place(path, 1, "-", "no whole gzip file", "CSV, or .csv.gz")) from None
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise TableError(place(path, line, "-", "bytes that are no UTF-8", "UTF-8")) from None


def _records(path: Path) -> tuple[list[str], list[list[str]], list[int]]:
    reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    rows, lines = [], []
    try:
        for row in reader:
            if any(field.strip() for field in row):
                rows.append(row)
                lines.append(reader.line_num)
    except csv.Error as error:
        found = f"broken CSV ({error})"
        raise TableError(place(path, reader.line_num, "-", found, "comma-separated")) from None
    if not rows:
        raise TableError(place(path, 1, "-", "an empty file", "a heading and rows"))
    heading = [name.strip() for name in rows[0]]
    if len(heading) == 1 and (mark := next((m for m in ";\t|" if m in heading[0]), "")):
        raise TableError(place(path, lines[0], "-", f"{mark!r} between columns", "a comma"))
    twice = next((name for name in heading if name and heading.count(name) > 1), None)
    if twice is not None:
        raise TableError(place(path, lines[0], twice, "this column twice", "once"))
    if len(rows) == 1:
        raise TableError(place(path, lines[0], "-", "a heading without rows", "at least one row"))
    for row, line in zip(rows[1:], lines[1:], strict=True):
        if len(row) != len(heading):
            found = f"{len(row)} fields"
            raise TableError(place(path, line, "-", found, f"{len(heading)} as in the heading"))
    return heading, rows[1:], lines[1:]


def _wanted(column: Column) -> str:
    unit = f" in {column.unit}" if column.unit else ""
    if column.text:
        return "text"
    if np.isinf(column.low) and np.isinf(column.high):
        return f"a number{unit}"
    return f"{column.low:g} to {column.high:g}{unit}"


def _missing(path: Path, line: int, heading: list[str], need: Mapping[str, Column]) -> None:
    absent = [name for name, column in need.items() if not column.optional and name not in heading]
    if not absent:
        return
    spare = [name for name in heading if name not in need]
    near = get_close_matches(absent[0], spare, n=1, cutoff=0.6)
    found = f"no such column but {near[0]!r}" if near else "no such column"
    more = f" (and {len(absent) - 1} more: {', '.join(absent[1:4])}…)" if len(absent) > 1 else ""
    raise TableError(place(path, line, absent[0], found, f"{_wanted(need[absent[0]])}{more}"))


def _numbers(path: Path, name: str, column: Column, texts: list[str], lines: list[int]) -> Floats:
    try:
        values = np.array([float(text) if text else np.nan for text in texts])
    except ValueError:
        values = np.zeros(0)
    bad = [
        (line, text)
        for line, text in zip(lines, texts, strict=True)
        if text and (not len(values) or text[0].isalpha() or text[1:2].isalpha())
        if not _finite(text)
    ]
    if bad:
        raise TableError(place(path, bad[0][0], name, repr(bad[0][1]), _wanted(column)))
    return values


def _finite(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def _inside(values: Floats, column: Column) -> float:
    """Share of the values that are possible; empty ones have no say."""
    given = values[np.isfinite(values)]
    return float(((given >= column.low) & (given <= column.high)).mean()) if len(given) else 1.0


def _cause(name: str, numbers: Mapping[str, Floats], need: Mapping[str, Column]) -> str:
    """What makes a whole column impossible: swapped with another, or another unit."""
    for other, values in numbers.items():
        fits = other != name and _inside(values, need[name]) > MOSTLY
        if fits and _inside(values, need[other]) <= MOSTLY < _inside(numbers[name], need[other]):
            return f"swapped with {other}?"
    for factor, words in FACTORS:
        if _inside(numbers[name] * factor, need[name]) > MOSTLY:
            return f"{words}?"
    return "another quantity?"


def _impossible(
    path: Path, numbers: Mapping[str, Floats], need: Mapping[str, Column], lines: list[int]
) -> Iterator[tuple[int, str]]:
    for name, values in numbers.items():
        column = need[name]
        outside = np.flatnonzero((values < column.low) | (values > column.high))
        if _inside(values, column) <= MOSTLY:
            cause = _cause(name, numbers, need)
            found = f"{values[outside[0]]:g} and {len(outside) - 1} more outside ({cause})"
            raise TableError(place(path, lines[outside[0]], name, found, _wanted(column)))
        for row in outside:
            yield int(row), f"{name} {values[row]:g} is not within {_wanted(column)}"


def read(path: Path, task: Task, with_target: bool) -> Read:
    """A table for the task, checked.

    Args:
        path: ``.csv`` or ``.csv.gz``, UTF-8, comma-separated, with a heading.
        task: Whose columns must be there; others are passed over.
        with_target: The target must be there too, to learn from.

    Raises:
        TableError: the first thing that is wrong.
    """
    heading, rows, lines = _records(path)
    need = dict(task.columns)
    if with_target:
        need[task.target] = task.answer
    _missing(path, lines[0] - 1, heading, need)
    table: dict[str, pd.Series[str] | Floats] = {}
    numbers: dict[str, Floats] = {}
    notes: dict[int, list[str]] = {}
    for name, column in need.items():
        if name not in heading:
            table[name] = np.full(len(rows), np.nan)
            continue
        at = heading.index(name)
        texts = [row[at].strip() for row in rows]
        if column.text:
            table[name] = pd.Series(texts, dtype="str")
        else:
            table[name] = numbers[name] = _numbers(path, name, column, texts, lines)
        if not (column.may_be_empty or (with_target and name == task.target)):
            empty = [row for row, text in enumerate(texts) if not text]
            if len(empty) == len(rows):
                raise TableError(place(path, lines[0], name, "an empty column", _wanted(column)))
            for row in empty:
                notes.setdefault(row, []).append(f"{name} is empty")
    for row, note in _impossible(path, numbers, need, lines):
        notes.setdefault(row, []).append(note)
    frame = pd.DataFrame(table)
    _no_duplicates(path, frame, task, lines)
    for row, column_name, found, right in task.inspect(frame):
        raise TableError(place(path, lines[row], column_name, found, right))
    for name, values in numbers.items():
        column = need[name]
        frame[name] = np.where((values < column.low) | (values > column.high), np.nan, values)
    said = {row: "; ".join(words[:MOST_SHOWN]) for row, words in notes.items()}
    return Read(frame, tuple(lines), said)


def _no_duplicates(path: Path, table: pd.DataFrame, task: Task, lines: list[int]) -> None:
    names = task.unique or task.keys
    seen: dict[tuple[object, ...], int] = {}
    for row, key in enumerate(zip(*(table[name] for name in names), strict=True)):
        if key in seen:
            again = ", ".join(f"{part:g}" if isinstance(part, float) else str(part) for part in key)
            found = f"{again} again, first in line {lines[seen[key]]}"
            raise TableError(place(path, lines[row], ", ".join(names), found, "each once"))
        seen[key] = row


def write(table: pd.DataFrame, path: Path) -> None:
    """Write in one piece: a reader sees the whole new file or the old one.

    Raises:
        TableError: the folder is not there or not writable.
    """
    text = table.to_csv(index=False, float_format="%.6g").encode()
    if path.suffix == ".gz":
        text = gzip.compress(text, mtime=0)
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(text)
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise TableError(f"{path}: cannot be written: {error.strerror}") from None
