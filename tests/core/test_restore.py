"""A restart: each part of the saved state by itself, and never a forgotten latch."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest

from ems import cycle, store
from ems.dispatch.tariff_file import load_tariff
from ems.model import OperatorRequest, RequestKind
from ems.restore import restore
from ems.safety import gate
from tests.builders import make_site, make_snapshot

SITE = make_site()
TARIFF = load_tariff(Path("configs/tariffs/beijing-two-part-10kv.yaml"))
LATCH = {
    "cause": "C01",
    "target": SITE.packs[0].id,
    "level": 4,
    "age_s": 60.0,
    "detail": "cell 7 at 3.70 V",
    "first_out": True,
    "acknowledged": False,
}


def saved(**safety):
    """What a run that was armed, with one latch and a notice in force, left behind."""
    state = cycle.initial(SITE)
    request = OperatorRequest("1", RequestKind.NOTICE, "lin", "storm", "", 4.0, 3600.0)
    snapshot = replace(make_snapshot(SITE), requests=(request,))
    state, _ = cycle.step(state, snapshot, None, SITE, TARIFF)
    data = cycle.save(state)
    data["safety"] |= {"armed": True, "latches": [dict(LATCH)]} | safety
    return {"site": SITE.id, "cycle": data}


def begin(path, data, ran_before=True):
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return restore(SITE, path, ran_before)


def latches(found):
    return [latch["cause"] for latch in gate.save(found.state.safety)["latches"]]


def notice(found):
    return found.state.dispatch.orders.notice


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.json"


def test_a_good_state_comes_back_whole(path):
    found = begin(path, saved())
    assert found.lost == ""
    assert found.state.safety.armed
    assert latches(found) == ["C01"]
    assert notice(found).value == 4.0
    assert path.exists()


def test_a_first_start_has_nothing_to_restore(path):
    found = restore(SITE, path, ran_before=False)
    assert found.lost == ""
    assert not found.state.safety.armed


def test_a_missing_state_beside_a_log_with_records_is_a_loss(path):
    found = restore(SITE, path, ran_before=True)
    assert "no state was saved" in found.lost
    assert not found.state.safety.armed


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(lambda data: data["cycle"].pop("safety"), id="no safety section"),
        pytest.param(lambda data: data["cycle"].update(safety=[]), id="a list"),
        pytest.param(
            lambda data: data["cycle"]["safety"]["latches"][0].pop("target"), id="latch of nothing"
        ),
        pytest.param(
            lambda data: data["cycle"]["safety"]["latches"][0].update(cause="C99"),
            id="row that this version does not have",
        ),
        pytest.param(
            lambda data: data["cycle"]["safety"]["latches"][0].update(age_s="old"),
            id="age in words",
        ),
    ],
)
def test_a_bad_interlock_state_is_a_loss_and_costs_nothing_else(path, caplog, bad):
    data = saved()
    bad(data)
    found = begin(path, copy.deepcopy(data))
    assert "no good" in found.lost
    assert not found.state.safety.armed
    assert notice(found).value == 4.0, "the order stands; the peak of the month does too"
    assert json.loads(path.with_suffix(".bad").read_text()) == data, "kept for whoever asks why"
    assert [r.levelname for r in caplog.records] == ["ERROR"]


@pytest.mark.parametrize(
    "content", ['{"site": "te', "", "[]", '{"site": "another"}', '{"site": "test-site"}']
)
def test_a_damaged_file_or_one_of_another_site_is_a_loss(path, content):
    found = begin(path, content, ran_before=False)
    assert found.lost
    assert not found.state.safety.armed
    assert path.with_suffix(".bad").read_text() == content


@pytest.mark.parametrize("part", ["health", "dispatch"])
@pytest.mark.parametrize("content", [{}, [], "x", None, {"packs": 1, "format": 0}])
def test_estimates_and_billing_memory_begin_anew_without_losing_a_latch(
    path, caplog, part, content
):
    data = saved()
    data["cycle"][part] = content
    found = begin(path, data)
    assert found.lost == ""
    assert found.state.safety.armed
    assert latches(found) == ["C01"]
    assert f"saved {part} does not fit" in caplog.text
    assert (notice(found) is None) is (part == "dispatch")


def test_a_loss_stands_until_somebody_has_looked_however_often_it_starts(path):
    """The state written meanwhile is good, but it is not the whole of it."""
    data = saved(armed=False, latches=[]) | {"lost": "the file was cut off"}
    found = begin(path, data)
    assert found.lost == "the file was cut off"
    assert notice(found).value == 4.0
    assert not path.with_suffix(".bad").exists()


def test_the_restored_state_runs(path):
    found = begin(path, saved())
    snapshot = make_snapshot(SITE)
    state, record = cycle.step(found.state, snapshot, None, SITE, TARIFF)
    assert record.decision.mode.value in ("init", "selftest")
    store.write(path, {"site": SITE.id, "cycle": cycle.save(state)})
    assert latches(restore(SITE, path, ran_before=True)) == ["C01"]
