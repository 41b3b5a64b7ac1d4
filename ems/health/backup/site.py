"""What a site never changes about its discharge: where it stops, what converters lose."""

from collections import deque
from dataclasses import dataclass
from typing import Final

import numpy as np

from ems.health.prepare import DC_SHARE, prepare
from ems.model import FloatArray
from ems.site import Chemistry, ConverterSpec, Site, SiteKind

STOP_V: Final = {
    Chemistry.LFP: (2.80, 0.15),
    Chemistry.NMC: (3.20, 0.15),
    Chemistry.LMO: (3.20, 0.15),
    Chemistry.LTO: (1.85, 0.10),
}
"""Voltage under load at which discharge is stopped (cause C02, level 3), V at h = 1, and
what is added times (1 − h). A copy, because health may not import safety; a test
holds the two together."""
HEAT_J_PER_K_AH: Final = {
    Chemistry.LFP: 23.0,
    Chemistry.NMC: 18.0,
    Chemistry.LMO: 24.0,
    Chemistry.LTO: 38.0,
}
"""Heat capacity of a cell per Ah of nameplate: about 1 kJ/(kg K). Engineering judgement."""
RESISTANCE_SIGMA: Final = 0.15
"""Relative error (1 sigma) of resistance over a whole discharge: temperature, wiring, its
rise towards empty. Common to all packs of a site. Engineering judgement."""
STOP_CAUSE: Final = "C02"
STOP_LEVEL: Final = 3


@dataclass(frozen=True, slots=True, eq=False)
class Discharge:
    """Constants of one site; arrays of shape ``(n_packs,)``."""

    direct: bool
    parallel: bool
    """Whether the packs share one DC bus, so that their resistances split the load."""
    stop_v: FloatArray
    """Group voltage under load that ends a discharge at h = 1, V."""
    stop_slope_v: FloatArray
    """Added to it times (1 − h)."""
    lvd_v: float
    """Low-voltage disconnect of a direct bus, V; 0 without one."""
    heat_j_per_k: FloatArray
    """Of a pack's cells together, J/K."""
    dc_share: float
    """Resistance to direct current over the 10 s one."""
    resistance_cases: FloatArray
    """The same in the three cases of a discharge, shape ``(3, 1)``: as estimated, with
    another SoC, and with resistance worse by the stated confidence."""
    weight: FloatArray
    """Rating of each pack's converter, W: converters that form a grid share by rating."""
    loss_share: FloatArray
    """W drawn from the packs for each W at the site bus; standby of a shared converter is in
    it, at the critical load, because whoever is left feeds all of it."""
    standby_w: FloatArray
    """Of the pack's own converter, W; 0 where it is shared."""
    efficiency: FloatArray
    """With no load to carry: the planning value, 1 on a direct bus."""
    converter_w: float
    """Rating that all packs of a shared converter have together, W; inf elsewhere."""

    def terminal_w(self, load_w: FloatArray) -> FloatArray:
        """What packs give at their terminals for these powers at the site bus, all > 0, W."""
        return load_w * self.loss_share + self.standby_w


_KEPT: Final[deque[tuple[Site, Discharge]]] = deque(maxlen=8)


def discharge(site: Site) -> Discharge:
    """The site's constants; computed on the first call for this object, then kept."""
    for known, constants in _KEPT:
        if known is site:
            return constants
    constants = _discharge(site)
    _KEPT.append((site, constants))
    return constants


def _discharge(site: Site) -> Discharge:
    packs = site.packs
    direct = site.kind is SiteKind.DIRECT_BUS
    parallel = site.kind is not SiteKind.OWN_CONVERTERS
    specs = [site.converters[i] for i in site.layout.converter_of_pack]
    shared = 0.0
    if parallel and site.backup.critical_w > 0.0:
        shared = site.converters[0].standby_w / site.backup.critical_w
    shelf = site.converters[0].rectifier
    worse = 1.0 + prepare(site).confidence_z * RESISTANCE_SIGMA
    tighter_v = [o.value for o in site.safety.overrides
                 if o.cause == STOP_CAUSE and o.level == STOP_LEVEL]  # fmt: skip
    made = Discharge(
        direct=direct,
        parallel=parallel,
        stop_v=np.array([max(STOP_V[p.chemistry][0], *tighter_v, 0.0) for p in packs]),
        stop_slope_v=np.array([STOP_V[p.chemistry][1] for p in packs]),
        lvd_v=shelf.lvd_disconnect_v if direct and shelf is not None else 0.0,
        heat_j_per_k=np.array(
            [HEAT_J_PER_K_AH[p.chemistry] * p.rated_ah * p.series_cells for p in packs]
        ),
        dc_share=DC_SHARE,
        resistance_cases=np.array([[DC_SHARE], [DC_SHARE], [DC_SHARE * worse]]),
        weight=np.array([s.rated_discharge_w / len(s.packs) for s in specs]),
        loss_share=np.array([1.0 if direct else _loss_share(s) + shared for s in specs]),
        standby_w=np.array([0.0 if parallel else s.standby_w for s in specs]),
        efficiency=np.array([1.0 if direct else s.efficiency_frac for s in specs]),
        converter_w=(site.converters[0].rated_discharge_w if parallel and not direct else np.inf),
    )
    for name in Discharge.__slots__:
        if isinstance(values := getattr(made, name), np.ndarray):
            values.setflags(write=False)
    return made


def _loss_share(spec: ConverterSpec) -> float:
    """The planning efficiency holds at half the rating with standby in it; this is without."""
    return max(1.0, 1.0 / spec.efficiency_frac - 2.0 * spec.standby_w / spec.rated_discharge_w)
