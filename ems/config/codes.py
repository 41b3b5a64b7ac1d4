"""First look at a battery code: shape and chemistry letter.

The full GB/T 34014-2017 parser (dates, serials, deadlines) lives in
``ems.traceability``; a site file only must not carry a code that cannot belong to
its pack.
"""

import re
from typing import Final

from ems.site import Chemistry

LENGTHS: Final = (19, 24)
"""Second-life product, first-life product."""
CHEMISTRY_LETTER: Final = {
    Chemistry.LFP: "B",
    Chemistry.LMO: "C",
    Chemistry.NMC: "E",
    Chemistry.LTO: "G",
}
LETTER_MEANING: Final = {
    "A": "NiMH",
    "B": "LFP",
    "C": "LMO",
    "D": "LCO",
    "E": "ternary (NMC)",
    "F": "supercapacitor",
    "G": "LTO",
    "Z": "other",
}
_CHARSET: Final = re.compile(r"[0-9A-Z]*")


def code_fault(code: str, chemistry: object) -> str | None:
    """What is wrong with a code beside a pack's chemistry, or ``None``.

    Args:
        code: The code as written; nothing is trimmed or folded.
        chemistry: The pack's chemistry as written; compared only when it is known.

    Source:
        GB/T 34014-2017: position 5 is the battery type (E-LEN, E-CHARSET, E-CHEM and
        E-CHEM-MISMATCH of the traceability rules; the mismatch is cause C43).
    """
    if len(code) not in LENGTHS:
        return f"code has {len(code)} characters, must have 19 (second life) or 24: {code!r}"
    if not _CHARSET.fullmatch(code):
        return f"code may hold only 0-9 and A-Z: {code!r}"
    letter = code[4]
    if letter not in LETTER_MEANING:
        return f"code says battery type {letter!r}, must be one of {', '.join(LETTER_MEANING)}"
    if chemistry in tuple(Chemistry):
        expected = CHEMISTRY_LETTER[Chemistry(str(chemistry))]
        if letter != expected:
            return (
                f"code says {LETTER_MEANING[letter]} (position 5 is {letter}), "
                f"but the pack is {chemistry} (must be {expected})"
            )
    return None
