"""Which moments become anchors, and which anchors are kept."""

from dataclasses import replace

import numpy as np
import pytest

from ems.health.learning import segments
from ems.site import Chemistry
from tests.health.anchored import RATED_AH, anchors, look

CAPACITY_AH = 0.8 * RATED_AH
STRETCH_AH = segments.STRETCH_FRAC * CAPACITY_AH
VOLTS = np.array([3.30, 3.31])


def seen(ah=0.0, at_h=0.0, sigma_v=0.0005, volts=VOLTS, soc=0.5):
    return replace(look(volts, ah, at_h, soc), sigma_v=sigma_v)


def after(*looks):
    made = segments.empty(2)
    for one in looks:
        made = segments.look(made, one)
    return made


@pytest.mark.parametrize(
    ("moved", "kept"),
    [pytest.param(0.99, 0, id="less than a stretch"), pytest.param(1.01, 1, id="a stretch")],
)
def test_a_stretch_of_charge_makes_an_anchor(moved, kept):
    assert after(seen(), seen(ah=moved * STRETCH_AH)).added == kept


@pytest.mark.parametrize(("hours", "kept"), [(3.9, 0), (4.1, 1)])
def test_so_does_a_stretch_of_time(hours, kept):
    assert after(seen(), seen(at_h=hours)).added == kept


def test_the_least_disturbed_moment_is_taken():
    made = after(
        seen(ah=0.1, sigma_v=0.004),
        seen(ah=0.9, sigma_v=0.001, volts=VOLTS + 0.01),
        seen(ah=1.5, sigma_v=0.008),
        seen(ah=9.0),
    )
    kept = segments.filled(made)
    assert made.ah[kept].tolist() == [0.9]
    assert made.volts[kept][0] == pytest.approx(VOLTS + 0.01)


@pytest.mark.parametrize(("sigma_v", "kept"), [(0.0149, 1), (0.0151, 0)])
def test_a_moment_too_disturbed_is_none(sigma_v, kept):
    assert after(seen(sigma_v=sigma_v), seen(ah=9.0)).added == kept


def test_looks_at_rest_are_averaged():
    made = after(*(seen(volts=VOLTS + 0.001 * (-1) ** k) for k in range(30)), seen(ah=9.0))
    kept = segments.filled(made)
    assert made.volts[kept][0] == pytest.approx(VOLTS, abs=1e-4)
    assert made.sigma_v[kept][0] < segments.NOISE_V


def test_a_cell_seen_late_is_taken_then():
    blind = np.array([3.30, np.nan])
    made = after(seen(volts=blind), seen(), seen(ah=9.0))
    assert np.isfinite(made.volts[segments.filled(made)]).all()


def test_a_break_loses_the_candidate_but_no_anchor():
    made = segments.broken(after(seen(), seen(ah=9.0)))
    assert made.added == 1
    assert segments.look(made, seen(ah=99.0)).added == 1


def test_segments_are_counted_in_either_direction():
    there = [seen(ah=float(ah)) for ah in range(0, 34, 4)]
    back = [seen(ah=float(ah)) for ah in range(32, 10, -4)]
    made = after(*there, *back)
    assert (made.discharges, made.charges) == (4, 2)


def test_memory_is_bounded_and_spans_range_and_days():
    made, _ = anchors(Chemistry.NMC, np.array([80.0, 75.0]), days=30.0)
    assert made.added > 5 * segments.SLOTS
    kept = segments.filled(made)
    assert made.at_h.size == segments.SLOTS
    assert np.ptp(made.volts[kept][:, 0]) > 0.4
    assert np.ptp(made.at_h[kept]) > 4 * 24.0
    assert made.at_h[kept].max() > 30 * 24.0 - 5.0
