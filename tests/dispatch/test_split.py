"""Sharing a power among unequal converters: laws, and the choice of who works."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ems.dispatch import split

POWERS = st.floats(0.0, 1e5)
MEMBERS = st.lists(st.tuples(st.floats(0.0, 1e5), st.floats(0.0, 5e4)), min_size=1, max_size=12)


@settings(deadline=None)
@given(total=POWERS, members=MEMBERS)
def test_the_shares_add_up_and_keep_their_bounds(
    total: float, members: list[tuple[float, float]]
) -> None:
    weights, caps = zip(*members, strict=True)
    powers = split.share(total, weights, caps)
    assert sum(powers) == pytest.approx(min(total, sum(caps)), rel=1e-9, abs=1e-6)
    for power, cap in zip(powers, caps, strict=True):
        assert 0.0 <= power <= cap * (1 + 1e-12)


@settings(deadline=None)
@given(total=POWERS, members=MEMBERS, data=st.data())
def test_the_order_of_converters_does_not_matter(
    total: float, members: list[tuple[float, float]], data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(members))))
    weights, caps = zip(*members, strict=True)
    straight = split.share(total, weights, caps)
    mixed = split.share(total, [weights[i] for i in order], [caps[i] for i in order])
    assert mixed == pytest.approx([straight[i] for i in order], rel=1e-6, abs=1e-3)


@pytest.mark.parametrize(
    ("total", "weights", "caps", "powers"),
    [
        pytest.param(60, [2, 1], [100, 100], [40, 20], id="in proportion to energy"),
        pytest.param(60, [2, 1], [30, 100], [30, 30], id="what one cannot carry spills over"),
        pytest.param(500, [2, 1], [30, 100], [30, 100], id="never more than all caps"),
        pytest.param(60, [0, 1], [100, 100], [0, 60], id="an empty pack rests"),
        pytest.param(60, [0, 1], [100, 40], [20, 40], id="unless the others are at their caps"),
        pytest.param(60, [1, 1], [0, 0], [0, 0], id="nobody can"),
        pytest.param(0, [1, 1], [9, 9], [0, 0], id="nothing asked"),
    ],
)
def test_shares_by_hand(
    total: float, weights: list[float], caps: list[float], powers: list[float]
) -> None:
    assert split.share(total, weights, caps) == pytest.approx(powers)


RATED = [10.0, 10.0, 10.0, 10.0]


def test_low_power_wakes_one_converter_the_one_with_most_energy() -> None:
    assert split.choose_active(2.0, [5, 9, 7, 8], RATED, RATED, ()) == (1,)


def test_full_power_needs_all() -> None:
    assert split.choose_active(40.0, [5, 9, 7, 8], RATED, RATED, (1,)) == (0, 1, 2, 3)


def test_a_rival_takes_over_only_with_a_clear_lead() -> None:
    # The lead asked for is 5 % of the largest weight.
    assert split.choose_active(2.0, [9.4, 9.0, 1, 1], RATED, RATED, (1,)) == (1,)
    assert split.choose_active(2.0, [9.6, 9.0, 1, 1], RATED, RATED, (1,)) == (0,)


def test_the_number_at_work_does_not_flutter() -> None:
    # A second one wakes at half load of one and rests again below 40 %.
    weights = [9.0, 9.0, 9.0, 9.0]
    one = split.choose_active(4.5, weights, RATED, RATED, (0,))
    two = split.choose_active(5.5, weights, RATED, RATED, one)
    still_two = split.choose_active(4.5, weights, RATED, RATED, two)
    back = split.choose_active(3.5, weights, RATED, RATED, still_two)
    assert [len(a) for a in (one, two, still_two, back)] == [1, 2, 2, 1]


@settings(deadline=None)
@given(total=st.floats(0.1, 40.0), caps=st.lists(st.floats(0.0, 10.0), min_size=4, max_size=4))
def test_those_at_work_can_carry_the_total_or_all_are(total: float, caps: list[float]) -> None:
    active = split.choose_active(total, [1.0, 2.0, 3.0, 4.0], caps, RATED, ())
    able = [i for i, cap in enumerate(caps) if cap > 0.0]
    assert sum(caps[i] for i in active) >= total or list(active) == able
