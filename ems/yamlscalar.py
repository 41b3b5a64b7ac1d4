"""The value of one plain YAML scalar, when all readers agree about it."""

import math
import re
from typing import Final

MAX_DIGITS: Final = 18
"""Whole numbers of at most this many digits fit the 64 bits every reader has."""

_NULL: Final = {"", "~", "null"}
_BOOLEAN: Final = {"true": True, "false": False}
LOOKALIKE: Final = {"on": True, "yes": True, "off": False, "no": False}
_INT: Final = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_HEX: Final = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?")
_OCTAL: Final = re.compile(r"[-+]?0o?[0-9]+")
_SEXAGESIMAL: Final = re.compile(r"[-+]?[0-9]+(:[0-5]?[0-9])+(\.[0-9]*)?")
_UNDERSCORED: Final = re.compile(r"[-+]?[0-9][0-9_.]*_[0-9_.]*")
_NOT_FINITE: Final = re.compile(r"[-+]?\.(inf|nan)", re.IGNORECASE)


class Refused(Exception):
    """A scalar whose meaning depends on the reader; carries what YAML 1.1 would make of it."""

    def __init__(self, message: str, meaning: object) -> None:
        super().__init__(message)
        self.meaning = meaning


def resolve(text: str) -> object:
    """The value of a plain (unquoted) scalar.

    Raises:
        Refused: readers disagree about it, or it is no number a site can have.
    """
    lower = text.lower()
    if text in _NULL:
        return None
    if text in _BOOLEAN:
        return _BOOLEAN[text]
    if lower in LOOKALIKE or lower in _BOOLEAN:
        meaning = LOOKALIKE.get(lower, _BOOLEAN.get(lower))
        word = "true" if meaning else "false"
        raise Refused(f"{text} is ambiguous; write {word}, or '{text}' for the text", meaning)
    if _INT.fullmatch(text) or _HEX.fullmatch(text):
        if len(text) > MAX_DIGITS:
            raise Refused(f"{text} has too many digits; quote it if it is a text", 0)
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        number = float(text)
        if not math.isfinite(number):
            raise Refused(f"{text} is too large for a number", 0.0)
        return number
    if _SEXAGESIMAL.fullmatch(text):
        return _sexagesimal(text)
    if _OCTAL.fullmatch(text):
        raise Refused(f"{text} may be read as octal; write it without the zero, or quote it", 0)
    if _UNDERSCORED.fullmatch(text):
        raise Refused(f"{text} may be read as a number; write it without underscores", 0)
    if _NOT_FINITE.fullmatch(text):
        raise Refused(f"{text} is not a finite number", 0.0)
    return text


def _sexagesimal(text: str) -> object:
    seconds = 0.0
    for part in text.lstrip("+-").split(":"):
        seconds = seconds * 60 + float(part)
    raise Refused(f"{text} may be read as the number {seconds:g}; write '{text}'", text)
