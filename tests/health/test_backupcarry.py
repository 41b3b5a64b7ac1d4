"""How packs share a load, drop out, and when it goes dark."""

import numpy as np
import pytest

from ems.health.backup.carry import carry


@pytest.mark.parametrize(
    ("energy_wh", "power_w", "load_w", "carried_wh"),
    [
        pytest.param([4e3, 4e3], [2e3, 2e3], 2e3, 8e3, id="either carries it alone: all"),
        pytest.param([4e3, 4e3], [1e3, 1e3], 2e3, 8e3, id="just enough together: all"),
        pytest.param([4e3, 4e3], [999.0, 1e3], 2e3, 0.0, id="1 W short: not even a moment"),
        pytest.param([1e3, 9e3], [1e3, 1e3], 2e3, 2e3, id="after 1 h one alone is too weak"),
        pytest.param([1e3, 9e3], [1e3, 1e3], 1.5e3, 2e3, id="less load, shared alike as well"),
        pytest.param([1e3, 9e3], [1e3, 2e3], 1.5e3, 10e3, id="the strong one goes on alone: all"),
        pytest.param([4e3, 4e3], [926.0, 3e3], 2e3, 8e3, id="1.08 of its power: still there"),
        pytest.param([4e3, 4e3], [925.0, 3e3], 2e3, 4e3, id="more: taken off, the other goes on"),
        pytest.param([4e3, 4e3], [900.0, 1.9e3], 2e3, 0.0, id="the other cannot: dark at once"),
        pytest.param([0.0, 9e3], [1e3, 2e3], 2e3, 9e3, id="an empty pack is no hindrance"),
        pytest.param([5e3, 9e3], [0.0, 2e3], 2e3, 9e3, id="a blocked pack gives nothing"),
        pytest.param([0.0, 0.0], [1e3, 1e3], 2e3, 0.0, id="empty"),
    ],
)
def test_packs_must_have_the_power_to_the_end(energy_wh, power_w, load_w, carried_wh):
    got = carry(energy_wh, power_w, [1.0, 1.0], load_w, np.inf)
    assert got.hours * load_w == pytest.approx(carried_wh)


def test_a_pack_carries_more_when_others_have_dropped_out():
    """2 kW: 1 kW each for an hour, then one alone for two; it gave 1 + 4 of 5 kWh at 1 and 2 kW."""
    got = carry([1e3, 5e3], [3e3, 3e3], [1.0, 1.0], 2e3, np.inf)
    assert got.hours == pytest.approx(3.0)
    assert got.mean_w == pytest.approx([1e3, (1e3 * 1e3 + 4e3 * 2e3) / 5e3])
    assert got.last_w == pytest.approx([1e3, 2e3])


def test_what_all_can_give_together_may_be_less_than_their_sum():
    assert carry([1e3, 1e3], [2e3, 2e3], [1.0, 1.0], 2e3, 2e3).hours == pytest.approx(1.0)
    assert carry([1e3, 1e3], [2e3, 2e3], [1.0, 1.0], 2e3, 1_999.0).hours == 0.0
