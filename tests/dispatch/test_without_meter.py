"""The grid meter is lost: nothing that needs it is done, whoever asks."""

from datetime import timedelta

import pytest

from ems.model import RequestKind, Source
from tests.dispatch import worlds
from tests.dispatch.worlds import FLAT_UTC, VALLEY_UTC, World, ask, settled, without_meter


def test_without_a_meter_the_last_discharge_is_held_to_the_end_of_the_window() -> None:
    world = World()
    plan = worlds.plan(world.site, FLAT_UTC, target_w=6_000.0)
    settled(world, 7_500.0, plan, 60)
    held = world.battery_w
    assert held > 1_000.0
    while world.at < FLAT_UTC + timedelta(seconds=900):
        request = world.step(7_500.0, plan, without_meter)
        assert request.converter_power_w.sum() == pytest.approx(held)
    request = world.step(7_500.0, plan, without_meter)
    assert request.converter_power_w.sum() == 0.0
    assert request.source is Source.HOLD
    assert request.incurred_peak_w <= 6_000.0 * 1.001, "unmeasured time counts at the cap"


def test_without_a_meter_nothing_is_charged() -> None:
    world = World(start=VALLEY_UTC)
    plan = worlds.plan(world.site, VALLEY_UTC, power_w=-1_500.0)
    settled(world, 2_000.0, plan)
    assert world.step(2_000.0, plan, without_meter).converter_power_w.sum() == 0.0


@pytest.mark.parametrize("asked_w", [-1_500.0, -1.0])
def test_without_a_meter_a_charging_set_point_is_not_followed(asked_w: float) -> None:
    world = World(start=VALLEY_UTC)
    world.step(2_000.0, requests=ask(RequestKind.SETPOINT, asked_w, 600.0))
    assert world.step(2_000.0).converter_power_w.sum() == pytest.approx(asked_w)
    request = world.step(2_000.0, None, without_meter)
    assert request.converter_power_w.sum() == 0.0
    assert request.source is Source.OPERATOR
    assert "meter missing" in request.reason
    assert "li asked" in request.reason


@pytest.mark.parametrize(
    ("asked_w", "given_w", "told"),
    [
        pytest.param(500.0, 500.0, False, id="less than the last discharge: followed"),
        pytest.param(2_500.0, 1_000.0, True, id="more: no more than the last discharge"),
        pytest.param(0.0, 0.0, False, id="nothing: followed"),
    ],
)
def test_without_a_meter_a_set_point_discharges_no_more_than_before(
    asked_w: float, given_w: float, told: bool
) -> None:
    world = World()
    settled(world, 7_000.0, worlds.plan(world.site, FLAT_UTC, target_w=6_000.0))
    # The power of the cycle in which the meter was last seen is what is held.
    world.battery_w = 1_000.0
    world.step(7_000.0, None, requests=ask(RequestKind.SETPOINT, asked_w, 3_600.0))
    while world.at < FLAT_UTC + timedelta(seconds=900):
        request = world.step(7_000.0, None, without_meter)
        assert request.converter_power_w.sum() == pytest.approx(given_w)
        assert ("meter missing" in request.reason) is told
    request = world.step(7_000.0, None, without_meter)
    assert request.converter_power_w.sum() == 0.0, "blind for a whole window: nothing"


def test_a_set_point_without_a_meter_does_not_take_the_reserve_either() -> None:
    world = World(soc=0.25)
    world.battery_w = 1_000.0
    world.step(4_000.0, requests=ask(RequestKind.SETPOINT, 1_000.0, 600.0))
    request = world.step(4_000.0, None, without_meter)
    assert request.converter_power_w.sum() == 0.0
    assert "reserve" in request.reason
