"""Event ``price_noise``: the planner sees wrong prices while it lasts, and only then."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from ems.config import load_site
from ems.dispatch.planner_process import NoisyPlanner, with_noise
from ems.dispatch.tariff_file import load_tariff
from ems.model import PlanRequest
from sim import runner
from sim.events import Event

SITE = load_site(Path(__file__).parents[2] / "configs" / "sites" / "peak-shaving.yaml")
TARIFF = load_tariff(SITE.grid.tariff)
START = datetime(2026, 3, 1, 16, tzinfo=UTC)
SECOND = timedelta(seconds=1)
FRAC, SEED = 0.9, 5


def noise(at_s, duration_s, value):
    return Event(at_s, "price_noise", "*", duration_s, value)


def test_the_planner_is_told_each_window_in_utc():
    outage = Event(5.0, "grid_outage", "*", 60.0, 0.0)
    events = (outage, noise(600.0, 60.0, 0.2), noise(3_000.0, 0.0, 0.1))
    assert runner._noise_arguments(events, START, 3_600.0, SEED) == (
        *("--price-noise", "0.2", "2026-03-01T16:10:00+00:00", "2026-03-01T16:11:00+00:00"),
        *("--price-noise", "0.1", "2026-03-01T16:50:00+00:00", "2026-03-01T17:00:00+00:00"),
        *("--seed", "5"),
    )
    assert runner._noise_arguments((outage,), START, 3_600.0, SEED) == ()


class Spy:
    """Stands for a planner; the answer is the largest price it believes in."""

    def __init__(self, site, tariff):
        self.answer = float(tariff.table_per_kwh.max())
        self.seen = []

    def observe(self, history):
        self.seen += history

    def plan(self, request):
        self.observe(request.history)
        return self.answer


@pytest.fixture
def planner(monkeypatch):
    monkeypatch.setattr("ems.dispatch.planner_process.Planner", Spy)
    windows = [
        (FRAC, START, START + timedelta(hours=1)),
        (FRAC / 2, START + timedelta(minutes=30), START + timedelta(hours=2)),
    ]
    return NoisyPlanner(SITE, TARIFF, windows, SEED)


def highest(frac):
    return float(with_noise(TARIFF, frac, SEED).table_per_kwh.max())


def request(at, history=()):
    none = np.zeros(SITE.n_packs)
    return PlanRequest("plan", at, none, none, none, none, 0.0, 0.0, 0.0, 0.0, none, history)


@pytest.mark.parametrize(
    ("at", "frac"),
    [
        pytest.param(START - SECOND, 0.0, id="before"),
        pytest.param(START, FRAC, id="from its first second"),
        pytest.param(START + timedelta(minutes=45), FRAC, id="the larger of two"),
        pytest.param(START + timedelta(hours=1) - SECOND, FRAC, id="to its last"),
        pytest.param(START + timedelta(hours=1), FRAC / 2, id="only the second is left"),
        pytest.param(START + timedelta(hours=2), 0.0, id="after"),
    ],
)
def test_prices_are_wrong_only_within_the_window(planner, at, frac):
    assert highest(FRAC) != highest(FRAC / 2) != highest(0.0) == TARIFF.table_per_kwh.max()
    assert planner.plan(request(at)) == highest(frac)


def test_every_window_of_history_is_seen_once_whoever_answers(planner):
    rows = [(START + i * timedelta(hours=1), float(i), None) for i in range(4)]
    for row in rows:
        planner.plan(request(row[0], (row,)))
    assert [spy.seen for spy in planner._planners.values()] == [rows] * 3
