"""A month of the steel plant on the peak-shaving site: saving captured, promises kept."""

import json

import pytest

from tests.integration import runs

CAPTURE_MIN_FRAC = 0.40
START = runs.date(2018, 3, 1)
LOAD = "load/factory_steel_kr_15min.csv.gz"

pytestmark = [runs.needs_data, pytest.mark.data]


def broken_promises(summary):
    """What a run did that it may never do."""
    names = ("limit_violations", "reserve_shortfall_s", "backup_shortfall_s")
    return {name: summary[name] for name in names if summary[name]}


@pytest.mark.campaign
@pytest.mark.timeout(0)
def test_thirty_days_capture_their_share_and_break_no_promise():
    out = runs.ROOT / "build" / "campaign" / "month"
    summary = runs.simulate(
        runs.PEAK_SHAVING,
        out,
        load_csv=runs.data(LOAD),
        start=START,
        days=30.0,
        protection=False,
    )
    print("\n" + json.dumps(summary, indent=2))
    assert broken_promises(summary) == {}
    assert summary["capture_frac"] >= CAPTURE_MIN_FRAC


@pytest.mark.timeout(290)
def test_half_a_day_breaks_no_promise(tmp_path):
    summary = runs.simulate(
        runs.PEAK_SHAVING, tmp_path, load_csv=runs.data(LOAD), start=START, days=0.5
    )
    assert broken_promises(summary) == {}
    assert summary["protection_trips"] == 0
