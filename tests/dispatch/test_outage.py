"""Grid lost and back: who carries, which load goes first, and when it returns."""

from dataclasses import replace
from datetime import timedelta

import pytest

from ems.dispatch import outage
from ems.dispatch.outage import Outage
from ems.model import MISSING, SiteSnapshot, Source
from tests.builders import good
from tests.dispatch import worlds
from tests.dispatch.worlds import FLAT_UTC, World, islanded


def grid_at(volts: float) -> object:
    def change(seen: SiteSnapshot) -> SiteSnapshot:
        return replace(seen, grid=replace(seen.grid, voltage_v=good(volts, seen.now_s)))

    return change


@pytest.mark.parametrize(
    ("volts", "lost"),
    [
        pytest.param(0.86 * 230, False, id="a dip above 0.85 is not an outage"),
        pytest.param(0.84 * 230, True, id="below 0.85 it is"),
        pytest.param(0.0, True, id="dead"),
    ],
)
def test_the_voltage_decides(volts: float, lost: bool) -> None:
    request = World().step(3_000.0, None, grid_at(volts))
    assert (request.source is Source.BACKUP) is lost


def test_a_dead_meter_alone_is_no_outage_but_an_islanding_converter_is() -> None:
    assert World().step(3_000.0, None, worlds.without_meter).source is Source.HOLD
    request = World().step(3_000.0, None, lambda s: islanded(worlds.without_meter(s)))
    assert request.source is Source.BACKUP


def test_the_packs_are_asked_to_carry_the_load_even_below_the_reserve() -> None:
    world = World(soc=0.2, required_wh=6_000.0)
    world.battery_w = 3_000.0
    request = world.step(3_000.0, None, islanded)
    assert request.converter_power_w.sum() == pytest.approx(3_000.0)
    assert "grid lost" in request.reason


def run_outage(soc: float, load_w: float, seconds: int) -> tuple[World, list[tuple[bool, ...]]]:
    """An outage with the load as metered: critical half, then a quarter each."""
    world, seen = World(soc=soc), []
    shares = (0.5, 0.25, 0.25)
    on = (True, True, True)
    for _ in range(seconds):
        carried = load_w * sum(s for s, is_on in zip(shares, on, strict=True) if is_on)
        world.battery_w = carried
        on = world.step(carried, None, islanded).load_on
        if not seen or on != seen[-1]:
            seen.append(on)
    return world, seen


def test_enough_energy_sheds_nothing() -> None:
    _, seen = run_outage(soc=0.9, load_w=4_000.0, seconds=600)
    assert seen == [(True, True, True)]


def test_the_least_important_load_goes_first_and_the_critical_one_never() -> None:
    # 1 h is promised; 2.3 kWh carry 4 kW for 35 min, so loads must go, one after another.
    _, seen = run_outage(soc=0.31, load_w=4_000.0, seconds=600)
    assert seen[0] == (True, True, False), "priority 2 goes at once"
    assert seen[1] == (True, False, False)
    assert all(state[0] for state in seen)


def test_a_shed_load_gets_time_to_show_before_the_next_goes() -> None:
    world = World(soc=0.15)
    world.battery_w = 4_000.0
    world.step(4_000.0, None, islanded)
    for _ in range(int(outage.SHED_STEP_S) - 1):
        world.battery_w = 4_000.0
        assert world.step(4_000.0, None, islanded).load_on == (True, True, False)
    world.battery_w = 4_000.0
    assert world.step(4_000.0, None, islanded).load_on == (True, False, False)


def test_a_notice_makes_the_promise_longer() -> None:
    site = worlds.site()
    for promised_h, sheds in ((1.0, False), (2.0, True)):
        after = outage.shed_loads(
            Outage(lost_at_s=0.0), 10.0, 3_000.0, 4_000.0, 12_000.0, promised_h, site.loads
        )
        assert bool(after.shed) is sheds


def test_low_energy_sheds_even_when_the_promise_is_kept() -> None:
    site = worlds.site()
    for energy_wh, sheds in ((1_900.0, False), (1_700.0, True)):
        # 15 % of 12 kWh is 1.8 kWh; the promise of one hour ended long ago.
        after = outage.shed_loads(
            Outage(lost_at_s=0.0), 7_200.0, 3_000.0, energy_wh, 12_000.0, 1.0, site.loads
        )
        assert bool(after.shed) is sheds


def test_with_the_load_unknown_only_low_energy_sheds() -> None:
    site = worlds.site()
    args = (12_000.0, 1.0, site.loads)
    assert not outage.shed_loads(Outage(lost_at_s=0.0), 9.0, None, 4_000.0, *args).shed
    assert outage.shed_loads(Outage(lost_at_s=0.0), 9.0, None, 100.0, *args).shed


def test_the_grid_must_hold_before_it_is_trusted_again() -> None:
    world = World()
    world.step(3_000.0, None, islanded)
    for _ in range(9):
        assert world.step(3_000.0).source is Source.BACKUP
    # A second failure starts the wait anew.
    world.step(3_000.0, None, islanded)
    for _ in range(10):
        assert world.step(3_000.0).source is Source.BACKUP
    assert world.step(3_000.0).source is not Source.BACKUP


def test_after_the_outage_the_reserve_is_refilled_without_a_new_peak() -> None:
    world = World(soc=0.2)
    plan = worlds.plan(world.site, FLAT_UTC, target_w=5_000.0)
    world.step(3_000.0, plan, islanded)
    for _ in range(900):
        request = world.step(3_000.0, plan)
    assert request.converter_power_w.sum() < -1_000.0
    assert max(world.import_w) <= 5_000.0


def test_loads_return_one_by_one_last_gone_first_back() -> None:
    world = World(soc=0.6)
    world.state = replace(
        world.state, outage=Outage(shed=(2, 1), good_since_s=world.now_s, switched_at_s=0.0)
    )
    began = world.now_s
    changes: list[tuple[float, tuple[bool, ...]]] = []
    for _ in range(120):
        on = world.step(2_000.0).load_on
        if not changes or changes[-1][1] != on:
            changes.append((world.now_s - 1.0 - began, on))
    assert changes == [
        (0.0, (True, False, False)),
        (outage.RECONNECT_AFTER_S, (True, True, False)),
        (outage.RECONNECT_AFTER_S + outage.RECONNECT_STEP_S, (True, True, True)),
    ]


def test_without_a_voltage_the_converters_say_when_the_grid_is_back() -> None:
    def silent(seen: SiteSnapshot) -> SiteSnapshot:
        converters = tuple(replace(c, state=MISSING) for c in seen.converters)
        return replace(worlds.without_meter(seen), converters=converters)

    world = World()
    world.step(3_000.0, None, islanded)
    for _ in range(60):
        assert world.step(3_000.0, None, silent).source is Source.BACKUP, "nobody knows"
    for _ in range(10):
        assert world.step(3_000.0, None, worlds.without_meter).source is Source.BACKUP
    assert world.step(3_000.0, None, worlds.without_meter).source is not Source.BACKUP


def test_the_demand_window_goes_on_through_an_outage() -> None:
    world = World()
    plan = worlds.plan(world.site, FLAT_UTC, target_w=5_000.0)
    for _ in range(450):
        world.step(4_000.0, plan)
    for _ in range(451):
        world.battery_w = 4_000.0
        world.step(4_000.0, plan, islanded)
    assert world.at == FLAT_UTC + timedelta(seconds=901)
    assert world.state.incurred_peak_w == pytest.approx(2_000.0, rel=0.01)
