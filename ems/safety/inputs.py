"""From a snapshot to the signals the table compares, all in one flat vector.

NaN means unknown: it never raises a level and never clears one. −inf (or +inf for a
LOW row) means "not this situation", such as a charging temperature while discharging.
"""

from math import inf
from typing import NamedTuple

import numpy as np

from ems.model import Contactor, FloatArray, Limits, Mode, Reading, SiteEstimate, SiteSnapshot
from ems.safety.cells import GOOD_ENOUGH, CellView, good, view_cells
from ems.safety.converter_signals import converter_signals
from ems.safety.pack_signals import pack_signals
from ems.safety.state import Memory, SafetyState
from ems.site import Site

_CONTACTORS = tuple(Contactor)
GRID_LOST_PU = 0.85
"""Limit of cause C41: below it a frequency is not judged."""


class Inputs(NamedTuple):
    """One cycle's signals and the readings that other parts of the gate need."""

    flat: FloatArray
    """Every signal, in the order of ``Signal`` (see ``Program.value_index``)."""
    clocks_s: FloatArray
    """Newest sample time of each source, in the order of ``SampleClock``."""
    limit: FloatArray
    """Threshold times sign at today's health, ``[point, level]``."""
    current_a: tuple[float, ...]
    """BMS current per pack, NaN where unknown."""
    contactor: tuple[Contactor | None, ...]
    cells: CellView
    islanded: bool
    """A converter reports that it forms the grid, or a direct bus lost its rectifier."""
    memory: Memory


def gather(
    state: SafetyState,
    snapshot: SiteSnapshot,
    estimate: SiteEstimate,
    limits: Limits,
    site: Site,
) -> Inputs:
    """Signals of this cycle.

    Args:
        state: After the previous cycle, already ``started``.
        snapshot: What the devices said.
        estimate: What health believes.
        limits: The envelope; only its health index is used here.
        site: The site.

    Returns:
        Signals, sample clocks and the memory for the next cycle.
    """
    cells = view_cells(snapshot.cells, site)
    pack = pack_signals(state, snapshot, estimate, limits, cells, site)
    health, limit, program = state.memory.health, state.memory.limit, state.program
    if limit is None or health is not limits.health:
        health, slack = limits.health, 1.0 - limits.health
        limit = program.base + program.slope * slack[program.health_pack][:, None]
    conv = converter_signals(state, snapshot, pack.current_a, site)
    memory = state.memory
    meter_at_s = memory.meter_at_s
    grid = snapshot.grid
    if grid.power_w.quality <= GOOD_ENOUGH and grid.power_w.value is not None:
        meter_at_s = max(meter_at_s, grid.power_w.at_s)
    settled = state.mode not in (Mode.INIT, Mode.SELFTEST)
    voltage_pu = good(grid.voltage_v) / site.grid.nominal_v
    frequency_hz = good(grid.frequency_hz) - site.grid.nominal_hz + 50.0
    if voltage_pu < GRID_LOST_PU:
        frequency_hz = 50.0  # a dead grid has no frequency to judge
    site_signals = [
        snapshot.now_s - meter_at_s,
        voltage_pu,
        frequency_hz,
        1.0 + snapshot.lateness_s / site.cycle_s if settled else -inf,
    ]
    flat = np.concatenate((*pack.signals, conv.signals + site_signals))
    pack_clock_s = np.maximum(np.maximum(cells.v_at_s, cells.t_at_s), pack.scalar_at_s)
    clocks_s = np.concatenate(
        (
            cells.v_at_s,
            cells.t_at_s,
            pack_clock_s,
            (*conv.at_s, max(grid.voltage_v.at_s, grid.frequency_hz.at_s), snapshot.now_s),
        )
    )
    return Inputs(
        flat=flat,
        clocks_s=clocks_s,
        limit=limit,
        current_a=pack.current_a,
        contactor=tuple([_contactor(p.contactor) for p in snapshot.packs]),
        cells=cells,
        islanded=conv.islanded,
        memory=Memory(
            repetition=pack.repetition,
            pack_at_s=pack.newest_s,
            pack_seen=pack.seen,
            converter_at_s=conv.newest_s,
            converter_seen=conv.seen,
            meter_at_s=meter_at_s,
            health=health,
            limit=limit,
        ),
    )


def _contactor(reading: Reading) -> Contactor | None:
    value = reading.value
    if value is None or reading.quality > GOOD_ENOUGH:
        return None
    return _CONTACTORS[int(value)]
