"""When the deliverable energy is worked out anew.

It is the dearest figure of a cycle and among the slowest: in ``RENEW_S`` at 1 C it moves by
0.14 % of a pack. Whatever changes who carries the load changes it at once, and in an
outage, when somebody counts the minutes, every cycle works it out.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from ems.health.backup.deliverable import deliverable
from ems.model import BackupEstimate, Limits, SiteEstimate, SiteSnapshot, Standing
from ems.site import Site

RENEW_S: Final = 5.0


@dataclass(frozen=True, slots=True, eq=False)
class HeldBackup:
    """The last figure and what it was made for."""

    backup: BackupEstimate
    made_s: float
    standing: Standing
    notice_hours: float
    able: tuple[int, int, int]
    """How many packs may discharge, may charge, have a known SoC."""


def backup_now(
    held: HeldBackup | None,
    estimate: SiteEstimate,
    limits: Limits,
    snapshot: SiteSnapshot,
    standing: Standing,
    notice_hours: float,
    site: Site,
) -> HeldBackup:
    """The figure of this cycle: ``held`` itself while nothing asks for a new one.

    Args:
        held: Of the cycle before; ``None`` at first.
        estimate: What the packs hold.
        limits: What they may do.
        snapshot: For the time and the contactors.
        standing: Verdict of the gate in the previous cycle.
        notice_hours: Reserve that an operator asks for beyond the promise, h.
        site: The site.
    """
    able = (
        int(np.count_nonzero(limits.discharge_w)),
        int(np.count_nonzero(limits.charge_w)),
        int(np.count_nonzero(estimate.soc_known)),
    )
    if (
        held is not None
        and not standing.grid_lost
        and 0.0 <= snapshot.now_s - held.made_s < RENEW_S
        and able == held.able
        and standing == held.standing
        and notice_hours == held.notice_hours
    ):
        return held
    made = deliverable(estimate, limits, snapshot, standing, notice_hours, site)
    return HeldBackup(made, snapshot.now_s, standing, notice_hours, able)
