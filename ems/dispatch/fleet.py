"""What each converter could do right now, as plain numbers per converter.

Lists of floats instead of arrays: with a handful of converters numpy's call
overhead is most of the cost, and this runs every cycle.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np

from ems.model import (
    BackupEstimate,
    Contactor,
    ConverterReading,
    ConverterState,
    FloatArray,
    Limits,
    Link,
    SiteEstimate,
    SiteSnapshot,
    Standing,
)
from ems.site import Chemistry, Site, SiteKind

SOC_CEILING_FRAC: Final[Mapping[Chemistry, float]] = MappingProxyType(
    {Chemistry.LFP: 0.90, Chemistry.NMC: 0.80, Chemistry.LMO: 0.80, Chemistry.LTO: 0.90}
)
"""Standby ceiling by chemistry where the site names none: used cells age fastest full
(cause C12)."""
BUS_EFFICIENCY_FRAC: Final = 0.98
"""One way, of packs that float on the load's own bus: no converter in between."""
# As plain floats: comparing with an enum member costs more than the rest of the check.
CUT_OFF: Final = (float(Contactor.OPEN), float(Contactor.FAULT))
FAULT: Final = float(ConverterState.FAULT)
UP: Final = Link.UP


@dataclass(frozen=True, slots=True)
class Constants:
    """What follows from the site file alone, worked out once; arrays per converter."""

    timezone: ZoneInfo
    behind: FloatArray
    """1 where a pack sits behind a converter, shape ``(n_converters, n_packs)``."""
    one_to_one: bool
    """Whether each pack has its own converter, in the same order."""
    eta_frac: FloatArray
    ceilings_frac: FloatArray
    """Standby ceiling per pack."""
    rated_out_w: FloatArray
    rated_in_w: FloatArray
    rated_out: list[float]
    """``rated_out_w`` as plain floats, for code that loops."""
    rated_in: list[float]


class Fleet(NamedTuple):
    """Per converter, in site order; powers at the site bus, energies at the terminals."""

    energy_wh: list[float]
    """Above the floor, Wh."""
    headroom_wh: list[float]
    """Up to the standby ceiling, Wh."""
    discharge_w: list[float]
    charge_w: list[float]

    @property
    def total_discharge_w(self) -> float:
        return sum(self.discharge_w)

    @property
    def total_charge_w(self) -> float:
        return sum(self.charge_w)

    @property
    def capacity_wh(self) -> float:
        """Usable between floor and ceiling, Wh."""
        return sum(self.energy_wh) + sum(self.headroom_wh)


def constants(site: Site) -> Constants:
    """Constants of a site."""
    rated_out = [c.rated_discharge_w for c in site.converters]
    rated_in = [c.rated_charge_w for c in site.converters]
    behind = membership(site)
    return Constants(
        timezone=ZoneInfo(site.timezone),
        behind=behind,
        one_to_one=np.array_equal(behind, np.eye(site.n_packs)),
        eta_frac=np.array(efficiencies(site)),
        ceilings_frac=soc_ceilings(site),
        rated_out_w=np.array(rated_out),
        rated_in_w=np.array(rated_in),
        rated_out=rated_out,
        rated_in=rated_in,
    )


def efficiencies(site: Site) -> list[float]:
    """One-way efficiency between terminals and site bus per converter, 0..1."""
    if site.kind is SiteKind.DIRECT_BUS:
        return [BUS_EFFICIENCY_FRAC] * len(site.converters)
    return [c.efficiency_frac for c in site.converters]


def soc_ceilings(site: Site) -> FloatArray:
    """Standby ceiling per pack, fraction of its own usable capacity."""
    fixed = site.backup.soc_ceiling_frac
    return np.array([SOC_CEILING_FRAC[p.chemistry] if fixed is None else fixed for p in site.packs])


def headroom_wh(
    estimate: SiteEstimate, limits: Limits, backup: BackupEstimate, ceilings_frac: FloatArray
) -> FloatArray:
    """What each pack may still take before its standby ceiling, Wh at the terminals.

    A pack whose envelope is open to the top has to be measured anew there: for that
    one charge its ceiling does not count.
    """
    ceilings_frac = np.where(limits.soc_high_frac >= 1.0, np.inf, ceilings_frac)
    room_frac = np.maximum(ceilings_frac - estimate.soc_max_frac, 0.0)
    room_wh = room_frac * estimate.capacity_ah * estimate.ocv_v
    return np.minimum(backup.pack_headroom_wh, np.where(estimate.soc_known, room_wh, 0.0))


def membership(site: Site) -> FloatArray:
    """1 where a pack sits behind a converter, shape ``(n_converters, n_packs)``."""
    matrix = np.zeros((len(site.converters), site.n_packs))
    for row, spec in zip(matrix, site.converters, strict=True):
        row[list(spec.packs)] = 1.0
    return matrix


def view(
    snapshot: SiteSnapshot,
    standing: Standing,
    estimate: SiteEstimate,
    limits: Limits,
    backup: BackupEstimate,
    site: Site,
    const: Constants,
) -> Fleet:
    """The fleet at this snapshot.

    A converter that does not answer, or whose packs are cut off, can do nothing, and a
    pack whose discharge the gate stops gives nothing: its share has to go to the
    others, not to be lost. On a direct bus the packs give without a converter.
    """
    joined = _joined(snapshot, site)
    gives = joined
    if not all(standing.discharge_ok):
        gives = np.array(standing.discharge_ok, np.float64)
        gives = gives if joined is None else gives * joined

    def behind(per_pack: FloatArray, share: FloatArray | None) -> FloatArray:
        if share is not None:
            per_pack = per_pack * share
        return per_pack if const.one_to_one else const.behind @ per_pack

    energy = behind(np.maximum(backup.pack_energy_wh, 0.0), gives)
    room = behind(headroom_wh(estimate, limits, backup, const.ceilings_frac), joined)
    out = np.minimum(behind(limits.discharge_w, gives) * const.eta_frac, const.rated_out_w)
    taken = np.minimum(behind(limits.charge_w, joined) / const.eta_frac, const.rated_in_w)
    fleet = Fleet(
        energy.tolist(),
        room.tolist(),
        (out * (energy > 0.0)).tolist(),
        (taken * (room > 0.0)).tolist(),
    )
    if site.kind is SiteKind.DIRECT_BUS:
        for i, spec in enumerate(site.converters):
            reading = snapshot.converters[i]
            obeys = _works(reading)
            if spec.rectifier is not None:
                bus_v = reading.dc_voltage_v.good or 0.0
                most_w = spec.rectifier.charge_current_limit_a * bus_v if obeys else 0.0
                fleet.charge_w[i] = min(fleet.charge_w[i], most_w)
            if not obeys and not standing.grid_lost:
                fleet.discharge_w[i] = 0.0  # with mains, only a shelf that obeys holds back
    return fleet


def _joined(snapshot: SiteSnapshot, site: Site) -> FloatArray | None:
    """1 for packs that can be used just now, 0 for the others; ``None`` when all can."""
    lost: list[int] = []
    for index, pack in enumerate(snapshot.packs):
        contactor = pack.contactor.good
        if contactor is not None and contactor in CUT_OFF:
            lost.append(index)
    if site.kind is not SiteKind.DIRECT_BUS:
        for spec, reading in zip(site.converters, snapshot.converters, strict=True):
            if not _works(reading):
                lost.extend(spec.packs)
    if not lost:
        return None
    joined = np.ones(len(snapshot.packs))
    joined[lost] = 0.0
    return joined


def _works(reading: ConverterReading) -> bool:
    return reading.link is UP and reading.state.good != FAULT
