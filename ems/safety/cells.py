"""Extremes of each pack's cells and sensors, over the values that can be believed."""

from math import inf, nan
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ems.model import CellBlock, FloatArray, Quality, Reading
from ems.site import Site

GOOD_ENOUGH = int(Quality.UNCERTAIN)
"""Values of worse quality must not be used."""


class CellView(NamedTuple):
    """Extremes per pack over the cells that can be believed; NaN where none can."""

    v_max: FloatArray
    v_min: FloatArray
    t_max: FloatArray
    t_min: FloatArray
    unknown_v: FloatArray
    """Cells whose voltage is unknown, count."""
    unknown_t: FloatArray
    v_at_s: FloatArray
    t_at_s: FloatArray


def good(reading: Reading) -> float:
    """The value, NaN when it must not be used."""
    value = reading.value
    return value if value is not None and reading.quality <= GOOD_ENOUGH else nan


_last: list[tuple[CellBlock, Site, CellView]] = []


def view_cells(cells: CellBlock, site: Site) -> CellView:
    """Block extremes of every pack, with unknown cells masked out.

    Envelope and gate look at the same snapshot one after the other, so the last
    answer is kept for the same two objects.
    """
    if _last and _last[0][0] is cells and _last[0][1] is site:
        return _last[0][2]
    view = _view(cells, site)
    _last[:] = [(cells, site, view)]
    return view


def _view(cells: CellBlock, site: Site) -> CellView:
    layout = site.layout
    v_max, v_min, unknown_v = _extremes(cells.voltage_v, cells.voltage_quality, layout.cell_start)
    t_max, t_min, unknown_t = _extremes(cells.temp_c, cells.temp_quality, layout.temp_start)
    return CellView(
        v_max=v_max,
        v_min=v_min,
        t_max=t_max,
        t_min=t_min,
        unknown_v=unknown_v,
        unknown_t=unknown_t,
        v_at_s=np.maximum.reduceat(cells.voltage_at_s, layout.cell_start),
        t_at_s=np.maximum.reduceat(cells.temp_at_s, layout.temp_start),
    )


def _extremes(
    value: FloatArray, quality: NDArray[np.uint8], start: NDArray[np.intp]
) -> tuple[FloatArray, FloatArray, FloatArray]:
    high, low = np.maximum.reduceat(value, start), np.minimum.reduceat(value, start)
    if quality.max() <= GOOD_ENOUGH and not np.isnan(high).any():
        return high, low, np.zeros(len(start))
    unknown = (quality > GOOD_ENOUGH) | np.isnan(value)
    high = np.maximum.reduceat(np.where(unknown, -inf, value), start)
    low = np.minimum.reduceat(np.where(unknown, inf, value), start)
    none = high == -inf
    high[none] = nan
    low[none] = nan
    return high, low, np.add.reduceat(unknown.astype(np.float64), start)
