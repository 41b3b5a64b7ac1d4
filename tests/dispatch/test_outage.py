"""Grid lost and back: who carries, which load goes first, and when it returns."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from ems import cycle
from ems.dispatch import outage
from ems.dispatch.outage import Outage
from ems.model import MISSING, Link, SiteSnapshot, Source
from ems.site import SiteKind
from tests.builders import good
from tests.dispatch import worlds
from tests.dispatch.worlds import FLAT_UTC, SINGLE_PART, VALLEY_UTC, World, islanded


def test_only_the_gate_says_that_the_grid_is_lost() -> None:
    def dark(seen: SiteSnapshot) -> SiteSnapshot:
        return islanded(seen, grid_v=good(0.0, seen.now_s))

    assert World().step(3_000.0, None, dark).source is not Source.BACKUP
    assert World().step(3_000.0, None, lost=True).source is Source.BACKUP


def test_the_packs_are_asked_to_carry_the_load_even_below_the_reserve() -> None:
    world = World(soc=0.2, required_wh=6_000.0)
    world.battery_w = 3_000.0
    request = world.step(3_000.0, None, islanded, lost=True)
    assert request.converter_power_w.sum() == pytest.approx(3_000.0)
    assert "grid lost" in request.reason


def run_outage(soc: float, load_w: float, seconds: int) -> tuple[World, list[tuple[bool, ...]]]:
    """An outage with the load as metered: critical half, then a quarter each."""
    world = World(soc=soc)
    seen: list[tuple[bool, ...]] = []
    shares = (0.5, 0.25, 0.25)
    on: tuple[bool, ...] = (True, True, True)
    for _ in range(seconds):
        carried = load_w * sum(s for s, is_on in zip(shares, on, strict=True) if is_on)
        world.battery_w = carried
        on = world.step(carried, None, islanded, lost=True).load_on
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
    world.step(4_000.0, None, islanded, lost=True)
    for _ in range(int(outage.SHED_STEP_S) - 1):
        world.battery_w = 4_000.0
        assert world.step(4_000.0, None, islanded, lost=True).load_on == (True, True, False)
    world.battery_w = 4_000.0
    assert world.step(4_000.0, None, islanded, lost=True).load_on == (True, False, False)


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


# Without a meter


def silent_meter_and_converters(seen: SiteSnapshot) -> SiteSnapshot:
    converters = tuple(replace(c, power_w=MISSING) for c in seen.converters)
    return replace(worlds.without_meter(seen), converters=converters)


def carrying(seen: SiteSnapshot, current_a: float) -> SiteSnapshot:
    """Every BMS sees this current at its 52.8 V."""
    packs = tuple(replace(p, current_a=good(current_a, seen.now_s)) for p in seen.packs)
    return replace(seen, packs=packs)


def feeders(seen: SiteSnapshot, *power_w: float | None) -> SiteSnapshot:
    read = tuple(MISSING if w is None else good(w, seen.now_s) for w in power_w)
    return replace(seen, load_power_w=read)


def unlit(seen: SiteSnapshot) -> SiteSnapshot:
    """Nobody knows what flows: no meter, no converter, no BMS."""
    packs = tuple(replace(p, current_a=MISSING) for p in seen.packs)
    return replace(silent_meter_and_converters(seen), packs=packs)


@pytest.mark.parametrize(
    ("change", "load_w"),
    [
        pytest.param(worlds.without_meter, 3_300.0, id="the converters say it"),
        pytest.param(
            lambda s: carrying(silent_meter_and_converters(s), 20.0), 3_168.0, id="or the BMSs"
        ),
        pytest.param(
            lambda s: feeders(unlit(s), 1_900.0, 700.0, 800.0), 3_400.0, id="or the feeders"
        ),
        pytest.param(
            lambda s: feeders(unlit(s), 1_900.0, 700.0, None),
            3_600.0,
            id="a feeder without a meter counts in full",
        ),
        pytest.param(unlit, 4_000.0, id="nobody: all feeders in full"),
        pytest.param(
            lambda s: feeders(unlit(s), 5.0, 5.0, 5.0), 2_000.0, id="never below the critical load"
        ),
    ],
)
def test_the_load_in_an_outage_comes_from_whatever_is_known(
    change: Callable[[SiteSnapshot], SiteSnapshot], load_w: float
) -> None:
    world = World(soc=0.9)
    world.battery_w = 3_300.0
    request = world.step(3_300.0, None, change, lost=True)
    assert request.source is Source.BACKUP
    assert request.converter_power_w.sum() == pytest.approx(load_w)
    assert f"carry {load_w / 1e3:.1f} kW" in request.reason


def test_a_converter_that_is_silent_is_filled_in_by_its_pack() -> None:
    def one_silent(seen: SiteSnapshot) -> SiteSnapshot:
        dumb = replace(seen.converters[0], power_w=MISSING)
        seen = replace(seen, converters=(dumb, *seen.converters[1:]))
        return carrying(worlds.without_meter(seen), 20.0)

    world = World(soc=0.9)
    world.battery_w = 3_000.0
    request = world.step(3_000.0, None, one_silent, lost=True)
    assert request.converter_power_w.sum() == pytest.approx(2_000.0 + 20.0 * 52.8)


def mains_gone(seen: SiteSnapshot) -> SiteSnapshot:
    """A direct bus whose meter and shelf live on the mains that is gone."""
    shelf = replace(
        seen.converters[0],
        link=Link.SILENT,
        power_w=MISSING,
        state=MISSING,
        dc_voltage_v=MISSING,
        dc_current_a=MISSING,
    )
    return carrying(worlds.without_meter(replace(seen, converters=(shelf,))), 20.0)


def test_a_base_station_whose_meter_dies_with_the_mains_sheds_in_order() -> None:
    site = worlds.site(kind=SiteKind.DIRECT_BUS)
    world = World(site, soc=0.26, tariff=SINGLE_PART, start=VALLEY_UTC, required_wh=0.0)
    plan = worlds.plan(site, VALLEY_UTC, power_w=-2_000.0)
    seen: list[tuple[bool, ...]] = []
    for _ in range(60):
        request = world.step(3_168.0, plan, mains_gone, lost=True)
        assert request.source is Source.BACKUP
        assert request.converter_power_w.sum() > 0.0, "no charging in an outage"
        if not seen or seen[-1] != request.load_on:
            seen.append(request.load_on)
    assert seen == [(True, True, False), (True, False, False)]
    assert "packs carry 3.2 kW, good for 0.5 h" in request.reason


def test_in_an_outage_nothing_is_imported_whether_or_not_a_meter_says_so() -> None:
    world = World()
    plan = worlds.plan(world.site, FLAT_UTC, target_w=5_000.0)
    for _ in range(450):
        world.step(4_000.0, plan)
    for _ in range(451):
        world.step(4_000.0, plan, worlds.without_meter, lost=True)
    assert world.state.incurred_peak_w == pytest.approx(2_000.0, rel=0.01)


# Back


def test_the_countdown_of_the_promise_starts_with_each_outage() -> None:
    world = World()
    world.step(3_000.0, None, lost=True)
    assert world.state.outage.lost_at_s == 1_000.0
    world.step(3_000.0, None, lost=True)
    assert world.state.outage.lost_at_s == 1_000.0
    assert world.step(3_000.0).source is not Source.BACKUP
    assert world.state.outage.back_at_s == 1_002.0
    world.step(3_000.0, None, lost=True)
    assert world.state.outage == Outage(lost_at_s=1_003.0)


def test_after_the_outage_the_reserve_is_refilled_without_a_new_peak() -> None:
    world = World(soc=0.2)
    plan = worlds.plan(world.site, FLAT_UTC, target_w=5_000.0)
    world.step(3_000.0, plan, islanded, lost=True)
    for _ in range(900):
        request = world.step(3_000.0, plan)
    assert request.converter_power_w.sum() < -1_000.0
    assert max(world.import_w) <= 5_000.0


def test_loads_return_one_by_one_last_gone_first_back() -> None:
    world = World(soc=0.6)
    world.state = replace(
        world.state, outage=Outage(shed=(2, 1), back_at_s=world.now_s, switched_at_s=0.0)
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


def test_the_demand_window_goes_on_through_an_outage() -> None:
    world = World()
    plan = worlds.plan(world.site, FLAT_UTC, target_w=5_000.0)
    for _ in range(450):
        world.step(4_000.0, plan)
    for _ in range(451):
        world.battery_w = 4_000.0
        world.step(4_000.0, plan, islanded, lost=True)
    assert world.at == FLAT_UTC + timedelta(seconds=901)
    assert world.state.incurred_peak_w == pytest.approx(2_000.0, rel=0.01)


def alive(seen: SiteSnapshot) -> SiteSnapshot:
    """Cells that flicker by a millivolt, as those of a living BMS do."""
    volts = seen.cells.voltage_v + 0.001 * (seen.now_s % 3.0)
    return replace(seen, cells=replace(seen.cells, voltage_v=volts))


def test_through_the_whole_cycle_a_dark_base_station_shows_its_hours_and_sheds() -> None:
    site = worlds.site(kind=SiteKind.DIRECT_BUS, backup_hours=8.0)
    state = cycle.initial(site)
    plan = worlds.plan(site, VALLEY_UTC, power_w=-2_000.0)
    seen: list[tuple[bool, ...]] = []
    for second in range(60):
        at = VALLEY_UTC + timedelta(seconds=second)
        now = alive(worlds.snapshot(site, at, 3_168.0, now_s=float(second)))
        if second >= 20:
            now = mains_gone(now)
        state, record = cycle.step(state, now, plan, site, SINGLE_PART)
        request = record.request
        if second >= 22:
            assert request.source is Source.BACKUP
            assert request.converter_power_w.sum() >= 0.0, "no charging in an outage"
            assert record.backup.required_wh == 0.0
            assert 1.0 < record.backup.hours < 8.0
            if not seen or seen[-1] != request.load_on:
                seen.append(request.load_on)
    assert seen == [(True, True, False), (True, False, False)]
