"""The state of the last run, part by part: what cannot be read must not be forgotten silently.

Estimates and billing memory may begin anew; interlock latches may not. When it is not
known which latches stood, the site starts unarmed and stays so until an operator has
looked and said so (``ems.audit``).
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ems import health, store
from ems.cycle import CycleState
from ems.dispatch import track
from ems.safety import gate
from ems.site import Site

log = logging.getLogger(__name__)

_MISFIT = (KeyError, ValueError, TypeError, IndexError, AttributeError, OverflowError)
"""What a part that is not what was saved makes its reader raise."""
NO_STATE = "the interlock log has records, but no state was saved"

PartT = TypeVar("PartT")


@dataclass(frozen=True, slots=True)
class Restored:
    """Where a run begins."""

    state: CycleState
    lost: str = ""
    """Why the saved interlock state is not known; empty when it is, or none ever was."""


def restore(site: Site, path: Path, ran_before: bool) -> Restored:
    """State of the last run, as much of it as can be read.

    A file whose interlock state is no good is kept beside under ``.bad``.

    Args:
        site: The site.
        path: The state file.
        ran_before: Whether the interlock log holds records: then a state must be there.
    """
    parts, safety, lost = _read(site, path, ran_before)
    if lost:
        log.error("%s; starting unarmed, the latches of before are not known", lost)
    state = CycleState(
        0,
        _part("health", health.load, health.initial(site), parts, site),
        _part("dispatch", track.load, track.initial(site), parts, site),
        safety,
    )
    return Restored(state, lost)


def _read(site: Site, path: Path, ran_before: bool) -> tuple[dict[str, Any], gate.SafetyState, str]:
    """Saved parts, interlock state, and why the latter is not the saved one."""
    fresh = gate.initial(site)
    parts: dict[str, Any] = {}
    try:
        data = store.read(path)
        if data is None:
            return parts, fresh, NO_STATE if ran_before else ""
        if data.get("site") != site.id:
            raise ValueError(f"it is of site {data.get('site')!r}, this is {site.id!r}")
        parts = dict(data["cycle"])
        return parts, gate.load(parts["safety"], site), str(data.get("lost", ""))
    except (OSError, *_MISFIT) as error:
        store.set_aside(path)
        return parts, fresh, f"the saved interlock state is no good: {error!r}"


def _part(
    name: str,
    load: Callable[[dict[str, Any], Site], PartT],
    fresh: PartT,
    parts: dict[str, Any],
    site: Site,
) -> PartT:
    if name not in parts:
        return fresh
    try:
        return load(parts[name], site)
    except _MISFIT as error:
        log.warning("saved %s does not fit this site (%r); it begins anew", name, error)
        return fresh
