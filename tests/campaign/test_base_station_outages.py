"""The promise of the base station: an outage of the promised hours, whenever it comes.

The simulated BMS do not protect: what keeps the cells above their floor is the EMS alone.
"""

import json

import pytest

from tests.campaign import base_station

COUNT, SEED = 100, 20261102
SLICE_SEED = 7
SLICE_LATEST_S = 1800


@pytest.mark.campaign
@pytest.mark.timeout(0)
def test_a_hundred_outages_at_any_time_of_day():
    """Resumable: results of the same code are taken from ``build/campaign``."""
    wanted = base_station.cases(COUNT, SEED)
    path = base_station.results_file("base-station")
    results = base_station.known(path)
    print(f"\nseed {SEED}, {COUNT} cases, {len(results)} known from {path}")
    left = [case for case in wanted if case not in results]
    with path.open("a", encoding="utf-8") as file:
        for result in base_station.run_all(left):
            file.write(json.dumps(result) + "\n")
            file.flush()
            results[base_station.case_of(result)] = result
            print(result, flush=True)
    found = [results[case] for case in wanted]
    lowest_v = min(result["cell_voltage_min_v"] for result in found)
    print(f"weakest cell of all {lowest_v:.3f} V, floor {base_station.floor_v():.3f} V")
    assert [fault for result in found for fault in base_station.faults(result)] == []


@pytest.mark.timeout(240)
def test_two_outages_soon_after_midnight():
    """Slice of the campaign for every run of the tests."""
    for result in base_station.run_all(base_station.cases(2, SLICE_SEED, SLICE_LATEST_S)):
        print(f"\n{result}")
        assert base_station.faults(result) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param({}, "", id="kept"),
        pytest.param({"backup_shortfall_s": 1.0}, "dark for 1 s", id="load dark"),
        pytest.param({"cell_voltage_min_v": 2.80}, "weakest cell at 2.800 V", id="cell at floor"),
        pytest.param({"cell_voltage_min_v": 2.81}, "", id="cell above floor"),
        pytest.param({"hours_in_backup": 3.0}, "in backup for 3.00 h", id="outage not seen"),
    ],
)
def test_judgement_tells_a_kept_promise_from_a_broken_one(change, words):
    kept = {
        "seed": 1,
        "day": 0,
        "second": 600,
        "backup_shortfall_s": 0.0,
        "cell_voltage_min_v": 3.0,
        "hours_in_backup": 4.0,
    }
    found = base_station.faults(kept | change)
    assert len(found) == bool(words)
    assert words in "".join(found)


def test_start_times_repeat_with_their_seed_and_are_spread_over_the_day():
    wanted = base_station.cases(COUNT, SEED)
    assert wanted == base_station.cases(COUNT, SEED)
    assert wanted != base_station.cases(COUNT, SEED + 1)
    hours = {case.second // 3600 for case in wanted}
    assert len(hours) >= 20
    assert min(case.second for case in wanted) >= base_station.SETTLE_S
