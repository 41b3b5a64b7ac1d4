"""What dispatch keeps over a restart, and which saved data it refuses."""

import json
from dataclasses import replace

import pytest

from ems.dispatch import track
from ems.model import RequestKind
from tests.dispatch import worlds
from tests.dispatch.worlds import FLAT_UTC, World, ask


def test_a_restart_keeps_the_paid_peak_the_orders_and_the_window() -> None:
    world = World()
    plan = worlds.plan(world.site, FLAT_UTC, target_w=6_000.0)
    for _ in range(1_000):
        world.step(7_000.0, plan)
    world.step(7_000.0, plan, requests=ask(RequestKind.NOTICE, 2.0, 3_600.0))
    saved = track.save(world.state)
    again = track.load(saved, world.site)
    assert again.incurred_peak_w == world.state.incurred_peak_w > 5_900.0
    assert again.month == (2026, 3)
    assert again.window == world.state.window
    assert again.orders == world.state.orders
    assert again.target_w == 6_000.0
    assert track.save(again) == saved


def test_a_state_of_another_format_is_refused() -> None:
    site = worlds.site()
    data = track.save(track.initial(site))
    with pytest.raises(ValueError, match="format"):
        track.load(data | {"format": 99}, site)
    with pytest.raises(ValueError, match="load this site does not have"):
        track.load(data | {"shed": [7]}, site)
    with pytest.raises(KeyError):
        track.load({"format": 1}, site)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        pytest.param(("incurred_peak_w",), float("nan"), id="a peak that is no number"),
        pytest.param(("incurred_peak_w",), -1.0, id="a negative peak"),
        pytest.param(("incurred_peak_w",), "7000", id="text"),
        pytest.param(("utc_s",), float("inf"), id="a time without end"),
        pytest.param(("target_w",), float("nan"), id="a target that is no number"),
        pytest.param(("month",), [2026], id="a month without a month"),
        pytest.param(("month",), [2026, 13], id="a thirteenth month"),
        pytest.param(("month",), 3, id="a month that is no pair"),
        pytest.param(("shed",), None, id="no list of loads"),
        pytest.param(("shed",), [1, 1], id="a load twice"),
        pytest.param(("orders",), None, id="no orders"),
        pytest.param(("orders", "notice", "value"), float("nan"), id="a notice of no hours"),
        pytest.param(("orders", "notice"), 3, id="a notice that is none"),
        pytest.param(("window",), 5, id="a window that is none"),
        pytest.param(("window", "import_ws"), float("nan"), id="an import that is no number"),
        pytest.param(("window", "at_utc_s"), 0.0, id="a window outside itself"),
        pytest.param(("window", "missing_s"), -5.0, id="less than nothing missing"),
        pytest.param(("window", "counter_wh"), "7", id="a counter in words"),
    ],
)
def test_data_that_save_never_writes_are_refused(path: tuple[str, ...], value: object) -> None:
    world = World()
    world.step(4_000.0, requests=ask(RequestKind.NOTICE, 2.0, 3_600.0))
    world.step(4_000.0)
    data = json.loads(json.dumps(track.save(world.state)))
    assert track.save(track.load(data, world.site)) == data
    place = data
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises((ValueError, TypeError)):
        track.load(data, world.site)


def test_a_window_of_another_length_is_left_out_and_the_peak_is_not() -> None:
    world = World()
    world.state = replace(world.state, incurred_peak_w=7_000.0)
    world.step(4_000.0)
    other = worlds.site(demand_window_s=1_800.0)
    again = track.load(track.save(world.state), other)
    assert again.window is None
    assert again.incurred_peak_w == 7_000.0
