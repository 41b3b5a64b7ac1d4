"""The SoC window of a pack: what doubt and disagreement do to its ends."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ems.safety import table
from ems.site import Chemistry
from tests.builders import make_site
from tests.safety import bench as b
from tests.safety.test_envelope import AS_NEW, RICH_BMS, SITE, limits


@pytest.mark.parametrize(
    ("reported", "low", "high"),
    [
        pytest.param(0.60, 0.10, 0.95, id="agree"),
        pytest.param(0.68, 0.10, 0.95, id="8 points: not yet"),
        pytest.param(0.70, 0.10, 0.90, id="10 points more: half of it off the top"),
        pytest.param(0.72, 0.10, 0.83, id="12 points more: all of it off the top"),
        pytest.param(0.40, 0.30, 0.95, id="20 points less: off the bottom"),
    ],
)
def test_soc_disagreement_takes_the_tighter_opinion_on_each_side(
    reported: float, low: float, high: float
) -> None:
    lim = limits(SITE, b.pack(soc_frac=reported), **AS_NEW)
    assert (lim.soc_low_frac[0], lim.soc_high_frac[0]) == pytest.approx((low, high))


@pytest.mark.parametrize("chemistry", [c for c in Chemistry if c is not Chemistry.LFP])
def test_pack_whose_voltage_tells_its_charge_keeps_its_window(chemistry: Chemistry) -> None:
    """The exemption is for a flat curve; elsewhere doubt shrinks the window on both sides."""
    site = make_site(n_packs=1, chemistry=chemistry)
    lim = limits(site, soc_sigma_frac=0.06, soh_sigma_frac=0.0)
    assert lim.soc_high_frac[0] == pytest.approx(table.SOC_HIGH[chemistry] - 0.12)


@pytest.mark.parametrize(
    ("sigma", "high"),
    [
        pytest.param(0.039, 0.872, id="known to 4 points: two sigma inside the window"),
        pytest.param(0.04, 0.87, id="still"),
        pytest.param(0.045, 0.945, id="half way from 86 % to the top"),
        pytest.param(0.05, 1.03, id="not known to 5: up to where the cells' voltage ends it"),
        pytest.param(0.20, 1.03, id="nor at all"),
    ],
)
def test_an_uncertain_pack_may_charge_until_its_voltage_says_full(
    sigma: float, high: float
) -> None:
    estimate = {"soc_sigma_frac": sigma, "soh_sigma_frac": 0.0}
    assert limits(SITE, **estimate).soc_high_frac[0] == pytest.approx(high)
    full = b.both(RICH_BMS, b.cell_v(3.60))
    assert limits(SITE, full, **estimate).charge_a[0] == 0.0


@pytest.mark.parametrize(
    ("reported", "current_a"),
    [
        pytest.param(b.MISSING, 45.0, id="a silent BMS has no opinion"),
        pytest.param(0.50, 45.0, id="it says less: the bottom's business"),
        pytest.param(0.68, 45.0, id="8 points more: not yet"),
        pytest.param(0.70, 27.0, id="10 points more: half way to slow"),
        pytest.param(0.72, 9.0, id="12 points more: 0.1 C of 90 Ah"),
        pytest.param(1.00, 9.0, id="it says full"),
    ],
)
def test_beyond_what_the_bms_agrees_to_the_charge_is_slow_and_ends_by_voltage(
    reported: object, current_a: float
) -> None:
    """At a sigma of 6 points both agree on an end of 83 %, less the disagreement."""
    doubt = {"soc_frac": 0.60, "soc_max_frac": 0.84, "soc_sigma_frac": 0.06, "soh_sigma_frac": 0.0}
    said = b.both(RICH_BMS, b.pack(soc_frac=reported))
    lim = limits(SITE, said, **doubt)
    assert lim.soc_high_frac[0] == pytest.approx(1.03)
    assert lim.charge_a[0] == pytest.approx(current_a)
    assert limits(SITE, b.both(said, b.cell_v(3.60)), **doubt).charge_a[0] == 0.0


def test_below_the_agreed_end_a_dispute_slows_nothing() -> None:
    lim = limits(
        SITE, b.both(RICH_BMS, b.pack(soc_frac=0.72)), soc_sigma_frac=0.06, soh_sigma_frac=0.0
    )
    assert lim.charge_a[0] == pytest.approx(45.0)


@settings(deadline=None)
@given(
    sigma=st.floats(0.0, 0.2),
    gap=st.floats(-0.3, 0.3),
    step=st.floats(-1.0, 1.0),
    say=st.booleans(),
)
def test_upper_end_moves_little_when_sigma_or_the_bms_does(
    sigma: float, gap: float, step: float, say: bool
) -> None:
    """0.1 points of sigma, or one step of a BMS that tells its SoC in tenths of a percent."""

    def upper_end(at_sigma: float, at_gap: float) -> float:
        lim = limits(
            SITE, b.pack(soc_frac=0.5 + at_gap), soc_frac=0.5, soc_sigma_frac=max(0.0, at_sigma)
        )
        return float(lim.soc_high_frac[0])

    moved = upper_end(sigma + (0.0 if say else 0.001 * step), gap + (0.001 * step if say else 0.0))
    assert abs(moved - upper_end(sigma, gap)) <= 0.03
