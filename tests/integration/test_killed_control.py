"""``kill -9`` of the process that talks to the devices: every kind of simulated converter is
at its safe value within the time-out its site file promises, and one second.

Real sockets, the real control process, and a second Modbus master that shares no code with
the drivers. The sites run side by side, because each needs its self-test before it may be
armed. Their time-outs are shortened: what is proven is that the promise is kept.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ems.site import Site
from tests.integration.bench import SecondMaster, Shown, bench, ports_spoken_to, truth
from tests.integration.live import kill, pid_of

pytestmark = [pytest.mark.sockets, pytest.mark.timeout(180)]

SITES = Path("configs/sites")
TIMEOUT_S = 4.0
GRACE_S = 1.0
LEAST_HELD = 0.15
"""Part of its rating that each PCS carries at least when control is killed."""


@dataclass(frozen=True, slots=True)
class Run:
    """What the second master saw of one site."""

    site: Site
    profiles: tuple[str, ...]
    control: frozenset[int]
    """Ports the killed process was talking to."""
    held: tuple[Shown, ...]
    """Each converter just before the kill."""
    seen: tuple[tuple[float, tuple[Shown, ...]], ...]
    """Seconds since the kill when each look began, and what it showed."""
    end: dict[str, Any]
    """The plant's truth afterwards."""


def shorten(data: Any) -> None:
    for converter in data["converters"]:
        converter["device_timeout_s"] = TIMEOUT_S


def with_a_sinexcel(data: Any) -> None:
    """The demo with a converter of the one other kind that the simulator can act."""
    shorten(data)
    data["devices"]["pcs2"]["profile"] = "pcs_sinexcel"


def held_and_killed(
    folder: Path, name: str, edit: Callable[[Any], None], power_w: float, watch_s: float
) -> Run:
    """Arm a site, hold a battery power, kill control, and watch its converters."""
    with bench(SITES / f"{name}.yaml", folder, edit) as found:
        found.start_plant()
        live = found.arm()
        live.setpoint(power_w)
        masters = [SecondMaster(found.site, i) for i in range(len(found.site.converters))]
        try:
            pid = pid_of(found.daemon.process)
            control = frozenset(ports_spoken_to(pid))
            held = tuple(master.read() for master in masters)
            kill(pid)
            return Run(
                found.site,
                tuple(master.profile for master in masters),
                control,
                held,
                tuple(looks(masters, watch_s)),
                truth(found),
            )
        finally:
            for master in masters:
                master.close()


def looks(masters, watch_s):
    began_s = time.monotonic()
    while (since_s := time.monotonic() - began_s) < watch_s:
        yield since_s, tuple(master.read() for master in masters)
        time.sleep(0.1)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """All sites at once; the discharge and the charge are near what their packs allow."""
    todo = {
        "demo": (with_a_sinexcel, 16_000.0, TIMEOUT_S + 2.0),
        "peak-shaving": (shorten, -130_000.0, TIMEOUT_S + 2.0),
        "base-station-48v": (shorten, 1_500.0, TIMEOUT_S + 6.0),
    }
    with ThreadPoolExecutor(len(todo)) as pool:
        started = {
            name: pool.submit(held_and_killed, tmp_path_factory.mktemp(name), name, *how)
            for name, how in todo.items()
        }
        return {name: future.result() for name, future in started.items()}


def safe_after_s(run, converter, safe):
    """When a converter was first seen at its safe value and stayed there, s after the kill."""
    for since_s, shown in reversed(run.seen):
        if not safe(shown[converter]):
            break
        first_s = since_s
    else:
        raise AssertionError("it was at its safe value when control was killed")
    assert run.seen[-1][0] > since_s, f"never safe: {run.seen[-1][1][converter]}"
    return first_s


KINDS = [
    pytest.param("demo", "pcs_sunspec_704", 2, id="SunSpec PCS of the demo"),
    pytest.param("demo", "pcs_sinexcel", 1, id="Sinexcel inverter"),
    pytest.param("peak-shaving", "pcs_sunspec_704", 8, id="eight PCS of peak shaving"),
]


@pytest.mark.parametrize(("name", "profile", "count"), KINDS)
def test_each_pcs_is_at_0_w_in_time(runs, name, profile, count):
    run, took_s = runs[name], []
    mine = [k for k, found in enumerate(run.profiles) if found == profile]
    assert len(mine) == count
    for k in mine:
        spec = run.site.converters[k]
        assert run.site.devices[spec.device].port in run.control, "the killed one steered it"
        rated_w = max(spec.rated_charge_w, spec.rated_discharge_w)
        assert abs(run.held[k].setpoint_w) > LEAST_HELD * rated_w, "a command was in force"
        assert abs(run.held[k].power_w) > LEAST_HELD * rated_w
        # The last digit of a SunSpec power reading is 10 W here.
        rest_w = spec.standby_w + 10.0

        def at_rest(shown, rest_w=rest_w):
            return shown.setpoint_w == 0.0 and abs(shown.power_w) <= rest_w

        took_s.append(safe_after_s(run, k, at_rest))
    print(f"\n{name}, {profile}: 0 W {min(took_s):.2f} to {max(took_s):.2f} s after the kill")
    assert max(took_s) <= TIMEOUT_S + GRACE_S
    assert min(took_s) > 0.5 * TIMEOUT_S, "by its own time-out, not by our farewell"


def test_a_rectifier_shelf_is_released_in_time_and_the_load_stays_lit(runs):
    """Its safe value: no limit of ours, so that float voltage carries load and packs."""
    run = runs["base-station-48v"]
    spec, (held,) = run.site.converters[0], run.held
    shelf = spec.rectifier
    assert run.site.devices[spec.device].port in run.control
    assert held.power_w > 1_000.0, "the packs were made to carry part of the load"
    assert held.setpoint_w < 0.8 * run.end["load_power_w"], "by holding the shelf back"
    full_w = run.site.grid.import_limit_w * spec.efficiency_frac

    def released(shown):
        whole = abs(shown.charge_limit_a - shelf.charge_current_limit_a) < 0.1
        return whole and shown.setpoint_w == pytest.approx(full_w, abs=1.0)

    took_s = safe_after_s(run, 0, released)
    carried_s = safe_after_s(run, 0, lambda shown: shown.power_w <= 0.0)
    print(
        f"\nrectifier shelf: full limits {took_s:.2f} s after the kill, packs idle {carried_s:.2f}"
    )
    assert 0.5 * TIMEOUT_S < took_s <= TIMEOUT_S + GRACE_S
    # Its walk-in is real and not part of the promise: the packs carry the rest meanwhile.
    assert carried_s <= TIMEOUT_S + GRACE_S + held.power_w / spec.ramp_w_per_s
    volts = [shown[0].bus_v for _, shown in run.seen]
    assert min(volts) > shelf.lvd_reconnect_v
    assert max(volts) <= shelf.float_v + 0.05
    assert run.end["backup_shortfall_s"] == 0.0
