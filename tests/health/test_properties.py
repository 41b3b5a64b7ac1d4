"""Laws that hold whatever the devices say."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ems import health
from ems.model import CellBlock, Contactor, Quality, Reading, Standing
from ems.site import Chemistry, SiteKind
from tests.builders import make_site, make_snapshot
from tests.health.drive import wide_limits

NOW_S = 1_000.0
SITES = {
    (kind, chemistry): make_site(kind, n_packs=2, chemistry=chemistry, series_cells=4)
    for kind in SiteKind
    for chemistry in Chemistry
}

qualities = st.sampled_from(list(Quality))
wild = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([0.0, -1.0, 1e300, 65_535.0, 3.3]),
)


@st.composite
def readings(draw, sensible):
    value = draw(st.one_of(st.none(), wild, sensible))
    return Reading(value, NOW_S - draw(st.sampled_from([0.0, 1.0, 20.0])), draw(qualities))


@st.composite
def snapshots(draw, site, now_s):
    layout = site.layout

    def block(n, low, high):
        value = st.one_of(wild, st.floats(low, high))
        values = draw(st.lists(value, min_size=n, max_size=n))
        quality = draw(st.lists(qualities, min_size=n, max_size=n))
        age_s = draw(st.lists(st.sampled_from([0.0, 1.0, 60.0]), min_size=n, max_size=n))
        return np.array(values), now_s - np.array(age_s), np.array(quality, np.uint8)

    base = make_snapshot(site, now_s)
    packs = tuple(
        replace(
            pack,
            current_a=draw(readings(st.floats(-300.0, 300.0))),
            voltage_v=draw(readings(st.floats(0.0, 60.0))),
            soc_frac=draw(readings(st.floats(0.0, 1.0))),
            contactor=draw(readings(st.sampled_from([float(c) for c in Contactor]))),
        )
        for pack in base.packs
    )
    cells = CellBlock(*block(layout.n_cells, 0.5, 4.5), *block(layout.n_temps, -50.0, 90.0))
    return replace(base, cells=cells, packs=packs, clock_ok=draw(st.booleans()))


@st.composite
def stories(draw):
    site = SITES[draw(st.sampled_from(list(SITES)))]
    standing = Standing(draw(st.booleans()), (draw(st.booleans()), draw(st.booleans())))
    now_s, story = NOW_S, []
    for _ in range(draw(st.integers(1, 6))):
        story.append(draw(snapshots(site, now_s)))
        now_s += draw(st.sampled_from([1.0, 9.0, 60.0, 1e5, 0.0, -5.0]))
    return site, standing, story


def finite(record):
    return all(np.isfinite(getattr(record, name)).all() for name in record.__slots__)


@settings(max_examples=60, deadline=None)
@given(stories())
def test_no_reading_however_wrong_makes_a_result_that_is_not_finite(story):
    site, standing, snapshots_of_it = story
    state = health.initial(site)
    for snapshot in snapshots_of_it:
        state, estimate = health.update(state, snapshot, site)
        backup = health.deliverable(estimate, wide_limits(site), snapshot, standing, 0.5, site)
        assert finite(estimate)
        assert finite(backup)
        assert finite(state.cells)
        assert finite(state.packs)
        assert ((estimate.soc_frac >= 0.0) & (estimate.soc_frac <= 1.0)).all()
        assert ((estimate.soc_sigma_frac > 0.0) & (estimate.soc_sigma_frac <= 0.5)).all()
        assert (estimate.voltage_v > 0.0).all()
        assert backup.energy_wh >= backup.energy_low_wh >= 0.0
    assert health.load(health.save(state), site).day == state.day
