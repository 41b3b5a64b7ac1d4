"""Requests and plans survive the pipe exactly; anything else is refused."""

import json
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ems.dispatch import wire
from ems.model import Plan, PlanRequest
from tests.dispatch import worlds
from tests.dispatch.worlds import FLAT_UTC

FLOATS = st.floats(allow_nan=False, allow_infinity=False)


@settings(deadline=None)
@given(
    values=st.lists(FLOATS, min_size=3, max_size=3), load=st.none() | FLOATS, pv=st.none() | FLOATS
)
def test_a_request_comes_back_bit_for_bit(
    values: list[float], load: float | None, pv: float | None
) -> None:
    sent = worlds.request(
        worlds.site(),
        FLAT_UTC,
        energy_wh=np.array(values),
        incurred_peak_w=values[0],
        history=((FLAT_UTC, load, pv),),
    )
    line = wire.encode_request(sent)
    assert "\n" not in line
    got = wire.decode_request(line)
    for name in PlanRequest.__slots__:
        left, right = getattr(sent, name), getattr(got, name)
        assert np.array_equal(left, right) if isinstance(left, np.ndarray) else left == right, name


def test_a_plan_comes_back_bit_for_bit() -> None:
    rng = np.random.Generator(np.random.PCG64(1))
    sent = Plan(
        id="p",
        made_at_utc=datetime(2026, 3, 1, 1, 2, 3, 456789, tzinfo=UTC),
        start_utc=FLAT_UTC,
        step_s=900.0,
        level=4,
        solver="shifted",
        peak_target_w=0.1 + 0.2,
        converter_power_w=rng.normal(size=(96, 3)),
        grid_power_w=rng.normal(size=96),
        load_power_w=rng.normal(size=96),
        pv_power_w=rng.normal(size=96),
        reserve_slack_wh=1 / 3,
        solve_s=1e-9,
        notes=("备用", "two"),
    )
    got = wire.decode_plan(wire.encode_plan(sent))
    for name in Plan.__slots__:
        left, right = getattr(sent, name), getattr(got, name)
        assert np.array_equal(left, right) if isinstance(left, np.ndarray) else left == right, name
    assert not got.converter_power_w.flags.writeable


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("", id="empty"),
        pytest.param("nonsense", id="no JSON"),
        pytest.param("[1]", id="no object"),
        pytest.param('{"kind":"error","id":"x","reason":"y"}', id="another kind"),
        pytest.param('{"kind":"request"}', id="nothing in it"),
        pytest.param('{"kind":"request","id":1,"now_utc":2}', id="wrong types"),
    ],
)
def test_what_is_no_request_is_refused(line: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - JSON errors and ours alike
        wire.decode_request(line)


def test_not_a_number_never_leaves() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        wire.encode_request(worlds.request(worlds.site(), FLAT_UTC, reserve_wh=float("nan")))


def test_greeting_and_errors() -> None:
    ready = wire.encode_ready(42, ("no memory cap",))
    assert wire.is_ready(ready)
    assert not wire.is_ready("ready")
    assert not wire.is_ready(json.dumps(json.loads(ready) | {"protocol": 0}))
    assert wire.decode_error(wire.encode_error("p", "why")) == ("p", "why")
    assert wire.decode_error(ready) is None
    assert wire.decode_error("nonsense") is None
