"""OCV tables: what the estimator and the plant share."""

import numpy as np
import pytest

from ems.health import ocv
from ems.site import Chemistry

INSIDE = np.linspace(0.0, 1.0, 2001)


@pytest.mark.parametrize("chemistry", ocv.CHEMISTRIES)
def test_ocv_rises_strictly_with_soc_even_outside_0_to_1(chemistry):
    soc = np.linspace(ocv.SOC_LOW_FRAC, ocv.SOC_HIGH_FRAC, 5001)[:-1]
    assert np.all(np.diff(ocv.ocv_v(chemistry, soc)) > 0.0)
    assert np.all(ocv.slope_v(chemistry, soc) > 0.0)


@pytest.mark.parametrize("chemistry", ocv.CHEMISTRIES)
def test_soc_from_ocv_undoes_ocv(chemistry):
    back = ocv.soc_from_ocv(chemistry, ocv.ocv_v(chemistry, INSIDE))
    assert back == pytest.approx(INSIDE, abs=2e-4)


@pytest.mark.parametrize("chemistry", ocv.CHEMISTRIES)
def test_soc_from_ocv_stays_within_0_and_1(chemistry):
    assert ocv.soc_from_ocv(chemistry, [0.0, 0.5, 6.0]).tolist() == [0.0, 0.0, 1.0]


@pytest.mark.parametrize("chemistry", ocv.CHEMISTRIES)
def test_slope_is_the_derivative(chemistry):
    middle = INSIDE[100:-100] + 0.00025
    numeric = (ocv.ocv_v(chemistry, middle + 1e-5) - ocv.ocv_v(chemistry, middle - 1e-5)) / 2e-5
    assert ocv.slope_v(chemistry, middle) == pytest.approx(numeric, rel=1e-6)


@pytest.mark.parametrize(
    ("chemistry", "soc_frac", "low_v", "high_v"),
    [
        pytest.param(Chemistry.LFP, 0.0, 2.5, 2.8, id="LFP empty"),
        pytest.param(Chemistry.LFP, 0.2, 3.20, 3.28, id="LFP foot of the plateau"),
        pytest.param(Chemistry.LFP, 0.5, 3.28, 3.32, id="LFP first graphite stage"),
        pytest.param(Chemistry.LFP, 0.9, 3.33, 3.36, id="LFP end of the plateau"),
        pytest.param(Chemistry.LFP, 1.0, 3.40, 3.60, id="LFP full, rested"),
        pytest.param(Chemistry.NMC, 0.0, 2.4, 3.0, id="NMC empty"),
        pytest.param(Chemistry.NMC, 0.5, 3.6, 3.75, id="NMC half"),
        pytest.param(Chemistry.NMC, 1.0, 4.15, 4.22, id="NMC full"),
        pytest.param(Chemistry.LMO, 0.0, 2.99, 3.01, id="LMO empty by definition"),
        pytest.param(Chemistry.LMO, 0.5, 3.88, 3.95, id="LMO half"),
        pytest.param(Chemistry.LMO, 1.0, 4.15, 4.20, id="LMO full, rested"),
        pytest.param(Chemistry.LTO, 0.5, 2.2, 2.4, id="LTO half: nominal 2.3 V"),
        pytest.param(Chemistry.LTO, 1.0, 2.6, 2.75, id="LTO full"),
    ],
)
def test_curves_pass_where_data_sheets_say(chemistry, soc_frac, low_v, high_v):
    assert low_v <= ocv.ocv_v(chemistry, soc_frac) <= high_v


def test_lfp_plateau_is_as_flat_as_the_safety_reference_says():
    # Section b7 of the reference: about 0.5 to 1 mV per % of SoC on the plateau.
    slopes = ocv.slope_v(Chemistry.LFP, np.linspace(0.3, 0.9, 601))
    assert 0.0003 <= np.median(slopes) / 100 <= 0.002


def test_mixed_chemistries_in_one_gather_equal_each_alone():
    chem = np.tile(np.arange(4), 50)
    soc = np.linspace(-0.05, 1.05, 200)
    mixed_v, mixed_slope_v = ocv.ocv_v_of(chem, soc), ocv.slope_v_of(chem, soc)
    mixed_soc = ocv.soc_from_ocv_of(chem, mixed_v)
    for chemistry in ocv.CHEMISTRIES:
        mine = chem == ocv.chem_index(chemistry)
        assert np.array_equal(mixed_v[mine], ocv.ocv_v(chemistry, soc[mine]))
        assert np.array_equal(mixed_slope_v[mine], ocv.slope_v(chemistry, soc[mine]))
        assert np.array_equal(mixed_soc[mine], ocv.soc_from_ocv(chemistry, mixed_v[mine]))


def test_table_cannot_be_written():
    with pytest.raises(ValueError, match="read-only"):
        ocv.TABLE_V[0, 0] = 1.0
