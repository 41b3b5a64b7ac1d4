"""CSV files as people hand them in: what is accepted, and one plain error for the rest.

Accepted: ``.csv`` and ``.csv.gz`` in UTF-8 with or without the byte order mark that
spreadsheets put in front, spaces around and capitals in the header, extra columns, blank
lines. Everything else is an ``InputError`` that names the file and, where there is one,
the line.
"""

import csv
import gzip
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from io import StringIO
from math import isfinite
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

MAX_BYTES: Final = 256 * 1024 * 1024
"""Unpacked; ten years of minutes come to 150 MB."""
_SHOWN_CHARS: Final = 60


class InputError(ValueError):
    """An input that cannot be used: file, line, what was found, what would be right."""


@dataclass(frozen=True, slots=True)
class Table:
    """Header and lines of a file."""

    path: Path
    names: tuple[str, ...]
    """Column names, without spaces around, in lower case."""
    line: int
    """Line of the header."""
    rows: Iterator[tuple[int, list[str]]]
    """Line number and fields; blank lines are left out."""

    def place(self, column: str) -> int | None:
        """Index of a column; ``None`` where the file does not have it."""
        return self.names.index(column) if column in self.names else None

    def error(self, message: str) -> InputError:
        """An error at the header."""
        return InputError(f"{self.path}:{self.line}: {message}")

    def check(self, line: int, row: list[str]) -> str:
        """``file:line`` of a row that has as many fields as the header.

        Raises:
            InputError: it has more or fewer.
        """
        if len(row) != len(self.names):
            hint = "; a decimal comma?" if len(row) > len(self.names) else ""
            raise InputError(
                f"{self.path}:{line}: {len(row)} fields, the header has {len(self.names)}{hint}"
            )
        return f"{self.path}:{line}"

    def lacks(self, wanted: Sequence[str], between: str = " or ") -> InputError:
        """Error of a file without the wanted columns; names the nearest one that it has."""
        near = next((n for w in wanted for n in get_close_matches(w, self.names, 1, 0.5)), None)
        hint = f" (is {near!r} meant?)" if near else ""
        found = ", ".join(self.names)
        return self.error(f"no column {between.join(wanted)}{hint}; found: {shown(found)}")


def read_table(path: Path) -> Table:
    """The header of a file, and its lines as they are asked for.

    Raises:
        InputError: from here or while the rows are taken.
    """
    records = _records(path, _text(path))
    line, header = next(records, (1, []))
    if not header:
        raise InputError(f"{path}:1: the file is empty; expected a header line")
    names = tuple(name.strip().lower() for name in header)
    if len(names) == 1 and any(mark in names[0] for mark in ";\t"):
        raise InputError(f"{path}:{line}: columns must be separated by commas, found {header[0]!r}")
    twice = next((n for i, n in enumerate(names) if n and n in names[:i]), None)
    if twice is not None:
        raise InputError(f"{path}:{line}: column {twice} is there twice; keep one")
    return Table(path, names, line, records)


def read_time(text: str, zone: ZoneInfo, after: datetime | None = None) -> datetime:
    """A time of a file in UTC; without an offset it is the wall clock of ``zone``.

    The hour that comes twice in autumn is first taken as the earlier one; a time that
    would not come after ``after``, the line before, is taken as the later one. A time that
    the clock jumps over in spring is taken as one of a clock already put forward: files
    whose labels were moved from the end of the step to its start hold one such line.

    Raises:
        ValueError: no time, or one that the clock jumps over and no line before it.
    """
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(f"{shown(text)!r} is no time; expected 2026-03-01T00:15:00") from None
    try:
        if at.tzinfo is not None:
            return at.astimezone(UTC)
        found = at.replace(tzinfo=zone).astimezone(UTC)
        exists = found.astimezone(zone).replace(tzinfo=None) == at
    except OverflowError:
        raise ValueError(f"{shown(text)!r} is out of range") from None
    if not exists and after is None:
        raise ValueError(
            f"{shown(text)!r} does not exist in {zone.key}: the clock is put forward over it"
        )
    if after is not None and (not exists or found <= after):
        return at.replace(tzinfo=zone, fold=1).astimezone(UTC)
    return found


def read_number(text: str) -> float:
    """A finite number.

    Raises:
        ValueError: it is not one; the message begins with what was found.
    """
    try:
        value = float(text)
    except ValueError:
        hint = "; write a decimal point" if text.count(",") == 1 else ""
        raise ValueError(f"{shown(text)!r} is no number{hint}") from None
    if not isfinite(value):
        raise ValueError(f"{shown(text)!r} is not finite")
    if "_" in text:
        raise ValueError(f"{shown(text)!r} is no number; leave out the underscore")
    return value


def shown(text: str) -> str:
    """Text of a file, short enough for an error message."""
    text = text.strip()
    return text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "…"


def _text(path: Path) -> str:
    try:
        if path.suffix == ".gz":
            with gzip.open(path) as packed:
                source = packed.read(MAX_BYTES + 1)
        else:
            with path.open("rb") as file:
                source = file.read(MAX_BYTES + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path}: is damaged or not gzip: {error}") from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"{path}: cannot be read: {reason}") from None
    if len(source) > MAX_BYTES:
        raise InputError(f"{path}: is larger than {MAX_BYTES // 2**20} MiB")
    try:
        text = source.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = source.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}:{line}: is not UTF-8 text (byte 0x{error.object[error.start]:02x}); "
            "save it as CSV UTF-8"
        ) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise InputError(f"{path}:{line}: zero byte; the file is damaged or not a CSV")
    return text


def _records(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of every line that is not blank."""
    reader = csv.reader(StringIO(text, newline=""), strict=True)
    line = 0
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise InputError(f"{path}:{line + 1}: {error}; is a quote left open?") from None
        if row is None:
            return
        # No field needs a line break, so a record over lines is a quote that nobody closed.
        if reader.line_num > line + 1:
            raise InputError(f"{path}:{line + 1}: a quote is not closed on its line")
        line = reader.line_num
        if any(field.strip() for field in row):
            yield line, row
