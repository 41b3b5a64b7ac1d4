"""The peak already paid: forgotten with the billing month, and by nothing else."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from ems.dispatch import track
from tests.dispatch.worlds import FLAT_UTC, World

MONTH = timedelta(days=40)
EPOCH = datetime(1970, 1, 1, 0, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("at", "clock_ok", "left_w", "month"),
    [
        pytest.param(FLAT_UTC + MONTH, True, 0.0, (2026, 4), id="a later month: forgotten"),
        pytest.param(FLAT_UTC + MONTH, False, 7_000.0, (2026, 3), id="but not on a bad clock"),
        pytest.param(FLAT_UTC - MONTH, True, 7_000.0, (2026, 3), id="an earlier month: kept"),
        pytest.param(EPOCH, False, 7_000.0, (2026, 3), id="a clock that starts in 1970: kept"),
        pytest.param(EPOCH, True, 7_000.0, (2026, 3), id="whatever it says of itself"),
    ],
)
def test_only_a_later_month_on_a_good_clock_forgets_the_paid_peak(
    at: datetime, clock_ok: bool, left_w: float, month: tuple[int, int]
) -> None:
    world = World(start=at)
    world.state = replace(world.state, incurred_peak_w=7_000.0, month=(2026, 3))
    request = world.step(1_000.0, change=lambda s: replace(s, clock_ok=clock_ok))
    assert request.incurred_peak_w == left_w
    assert world.state.month == month


def test_a_controller_that_starts_in_1970_keeps_its_peak_until_the_next_real_month() -> None:
    before = World()
    before.state = replace(before.state, incurred_peak_w=7_000.0, month=(2026, 3))
    before.step(1_000.0)
    saved = track.save(before.state)
    world = World(start=EPOCH, state=track.load(saved, before.site))
    for _ in range(20):
        world.step(1_000.0, change=lambda s: replace(s, clock_ok=False))
    world.at = FLAT_UTC + timedelta(hours=1)
    assert world.step(1_000.0).incurred_peak_w == 7_000.0
    world.at = FLAT_UTC + MONTH
    assert world.step(1_000.0, change=lambda s: replace(s, clock_ok=False)).incurred_peak_w == 7e3
    assert world.step(1_000.0).incurred_peak_w == 0.0


def test_a_peak_seen_before_the_clock_was_good_belongs_to_the_first_month_it_tells() -> None:
    world = World()
    for _ in range(902):
        world.step(4_000.0, change=lambda s: replace(s, clock_ok=False))
    assert world.state.month is None
    peak_w = world.state.incurred_peak_w
    assert peak_w == pytest.approx(np.mean(world.import_w[:900]), rel=0.01)
    assert world.step(4_000.0).incurred_peak_w == peak_w
    assert world.state.month == (2026, 3)
