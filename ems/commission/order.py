"""Who acts first when cells run down: our stop, our trip, the low-voltage disconnect, the BMS.

Ours follow from the site, the disconnect stands in the site file, and the BMS's is read
where its profile has it; only where nobody can know it a person is asked.
"""

import contextlib
from datetime import date
from typing import Final

from ems.commission import judge
from ems.commission.person import Person, answered
from ems.commission.record import Check
from ems.judge.aged import aged
from ems.probe.report import DeviceSeen
from ems.safety.program import thresholds
from ems.safety.table import ROW_OF_ID
from ems.site import Site

_UNDER_VOLTAGE: Final = ROW_OF_ID["C02"]
_STOP, _TRIP = 2, 3
"""Levels 3 and 4: no more discharge; the contactor opens."""


async def order(site: Site, pack: int, seen: DeviceSeen, person: Person, today: date) -> Check:
    """The order for one pack, every voltage that of a cell.

    Args:
        site: The compiled site.
        pack: Its index.
        seen: What its BMS says.
        person: Asked for what the BMS does not tell.
        today: Intake tests age, and thresholds tighten with them.
    """
    spec = site.packs[pack]
    shelf = site.converters[int(site.layout.converter_of_pack[pack])].rectifier
    lvd_v = None if shelf is None else shelf.lvd_disconnect_v / spec.series_cells
    bms_v, stated = _threshold_v(seen), False
    if bms_v is None:
        bms_v, stated = await _asked_v(person, spec.id), True
    return judge.order(*ours_v(site, pack, today), lvd_v, bms_v, stated)


def ours_v(site: Site, pack: int, today: date) -> tuple[float, float]:
    """Cell voltages of our stop (L3) and of our trip (L4), at the pack's health today, V."""
    spec = site.packs[pack]
    limits = thresholds(_UNDER_VOLTAGE, spec.chemistry, site)
    tighten = _UNDER_VOLTAGE.tighten[spec.chemistry]
    lost = 1.0 - aged(spec, None, today).health
    stop_v, trip_v = (limits[k] + (tighten[k] or 0.0) * lost for k in (_STOP, _TRIP))
    return stop_v, trip_v


def _threshold_v(device: DeviceSeen) -> float | None:
    """Cell voltage at which a BMS opens, where its profile reads that setting."""
    for point in device.points:
        words = set(point.name.split("_"))
        told = {"cell", "v"} <= words and words & {"trip", "cutoff", "protection"}
        if told and words & {"low", "min", "under"} and isinstance(point.value, float):
            return point.value if point.quality == "good" else None
    return None


async def _asked_v(person: Person, pack: str) -> float | None:
    question = (
        f"{pack}: at which cell voltage does its BMS open by itself when discharged, in V, by its "
        "data sheet or display? (empty: not known)"
    )
    while told := await answered(lambda: person.ask(question)):
        with contextlib.suppress(ValueError):
            volts = float(told.replace(",", "."))
            if 0.5 < volts < 5.0:
                return volts
        person.tell(f"{told!r} is no cell voltage")
    return None
