"""What several devices on one serial line may ask of it."""

from dataclasses import replace

import pytest

from ems.drivers import language
from ems.drivers.compiling import linefit
from ems.drivers.compiling.compile import compile_device
from ems.drivers.device import CompiledDevice, ProfileMisfit
from tests.drivers.bench import device

COUNTS = {"reported_cells": 96, "reported_temps": 12}


def bus(racks: int, baud: int) -> list[CompiledDevice]:
    """Racks on one line, not yet fitted."""
    profile = language.load("bms_rack_0x2000")
    base = device("rack", "bms_rack_0x2000", transport="modbus_rtu", path="/dev/tty", port=0)
    specs = [
        replace(base, id=f"rack{k}", unit_id=k + 1, options={"baud": str(baud)})
        for k in range(racks)
    ]
    return [compile_device(profile, spec, COUNTS, alone=False) for spec in specs]


def share(devices: list[CompiledDevice], slow: bool) -> float:
    """Share of the line's time that the slow or the fast polls take."""
    return sum(
        block.wire_s / block.period_s
        for one in devices
        for block in one.blocks
        if (block.poll == "slow") is slow
    )


@pytest.mark.parametrize("racks", [1, 2, 3])
def test_slow_polls_of_a_line_share_what_is_left_for_them(racks):
    before = bus(racks, 19_200)
    after = linefit.fit(before)
    assert share(after, slow=True) <= linefit.SLOW_SHARE
    assert share(after, slow=False) == share(before, slow=False) <= linefit.FAST_SHARE
    for one in after:
        for block in one.blocks:
            assert block.ttl_s == max(linefit.TTL_MIN_S, one.link.ttl_polls * block.period_s)


def test_a_cell_array_lives_longer_than_three_of_its_stretched_polls_need():
    (one,) = linefit.fit(bus(1, 9_600))
    cells = next(block for block in one.blocks if "cell_voltage_v" in block.names)
    assert cells.wire_s > 0.2
    assert cells.period_s > 1.0, "not every second any more"
    assert cells.ttl_s >= 3 * cells.period_s


def test_a_line_too_slow_for_control_values_is_refused_at_start():
    with pytest.raises(ProfileMisfit) as misfit:
        linefit.fit(bus(5, 9_600))
    assert "device rack0, rack1, rack2, rack3, rack4: the fastest poll class takes" in str(
        misfit.value
    )
    assert "60 % are allowed" in str(misfit.value)


def test_devices_on_tcp_never_wait_for_each_other():
    profile = language.load("bms_rack_0x2000")
    found = [
        compile_device(profile, device(f"rack{k}", "bms_rack_0x2000", port=502), COUNTS)
        for k in range(40)
    ]
    assert linefit.fit(found) == found
    assert [len(line) for line in linefit.by_line(found)] == [40]


def test_a_file_of_the_site_gives_devices_that_share_a_line_one_budget():
    devices = bus(2, 19_200)
    other = replace(devices[0], spec=replace(devices[0].spec, id="far", path="/dev/other"))
    lines = linefit.by_line([*devices, other])
    assert [[one.id for one in line] for line in lines] == [["rack0", "rack1"], ["far"]]
