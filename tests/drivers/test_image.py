"""The process image: ages, losses and heartbeats."""

import numpy as np
import pytest

from ems.drivers import profile
from ems.drivers.compiler import compile_device
from ems.drivers.device import Block, CompiledDevice, Values
from ems.drivers.freeze import channel
from ems.drivers.image import DeviceImage
from ems.model import MISSING, Link, Quality, Reading
from tests.drivers.bench import device

NOW_S = 100.0


def rack() -> CompiledDevice:
    counts = {"reported_cells": 2, "reported_temps": 1}
    return compile_device(profile.load("bms_rack_0x2000"), device("bms", "bms_rack_0x2000"), counts)


def block(key: str) -> Block:
    return next(b for b in rack().blocks if b.key == key)


def heard(image: DeviceImage, key: str, payload: bytes, at_s: float) -> None:
    image.store(block(key), block(key).decode(payload), at_s)


@pytest.fixture
def image() -> DeviceImage:
    return DeviceImage.of(rack().blocks)


STATUS = bytes(2 * 24)
CELLS = bytes([0x0C, 0xF0, 0x0D, 0x48])


def test_nothing_is_known_before_the_first_answer(image):
    assert image.read("voltage_v", NOW_S) == MISSING
    assert image.heartbeat(NOW_S) == MISSING
    assert image.link is Link.SILENT


@pytest.mark.parametrize(
    ("age_s", "quality"),
    [
        pytest.param(0.0, Quality.GOOD, id="fresh"),
        pytest.param(3.0, Quality.GOOD, id="at its time to live: still good"),
        pytest.param(3.1, Quality.STALE, id="beyond: stale"),
    ],
)
def test_a_value_goes_stale_and_keeps_its_last_content(image, age_s, quality):
    heard(image, "status", STATUS, NOW_S)
    assert image.read("current_a", NOW_S + age_s) == Reading(0.0, NOW_S, quality)


def test_the_time_to_live_follows_the_poll_period_but_never_falls_below_three_seconds():
    assert block("status").ttl_s == 3.0, "3 polls of 0.5 s would be 1.5 s"
    slow = rack().profile.link.model_copy(update={"poll_ms": {"fast": 500, "slow": 5000}})
    found = rack().profile.model_copy(update={"link": slow})
    compiled = compile_device(found, rack().spec, {"reported_cells": 2, "reported_temps": 1})
    assert {b.key: b.ttl_s for b in compiled.blocks}["cell_temps"] == 15.0


def test_losing_the_link_forgets_every_value_at_once(image):
    heard(image, "status", STATUS, NOW_S)
    heard(image, "cell_voltages", CELLS, NOW_S)
    image.lose(Link.REFUSED)
    assert image.link is Link.REFUSED
    assert image.read("current_a", NOW_S) == MISSING
    assert image.arrays == {}
    assert image.heartbeat(NOW_S) == MISSING


def test_an_answer_that_must_not_be_believed_spoils_its_whole_block(image):
    heard(image, "status", STATUS, NOW_S)
    heard(image, "cell_voltages", CELLS, NOW_S)
    image.spoil(block("cell_voltages"), NOW_S + 1)
    assert (image.arrays["cell_voltage_v"].quality == Quality.BAD).all()
    assert image.read("current_a", NOW_S + 1).quality is Quality.GOOD
    image.spoil(block("status"), NOW_S + 1)
    assert image.read("current_a", NOW_S + 1) == Reading(None, NOW_S + 1, Quality.BAD)


def test_without_a_counter_there_is_no_heartbeat(image):
    heard(image, "status", STATUS, NOW_S)
    assert image.heartbeat(NOW_S) == MISSING


def test_a_reconnect_does_not_make_a_frozen_device_look_alive():
    image, fast = counting()
    for at_s in (0.0, 30.0):
        values = Values(scalars={"heartbeat": (7.0, Quality.GOOD)})
        image.store(fast, values, NOW_S + at_s)
        assert image.heartbeat(NOW_S + at_s).at_s == NOW_S
        image.lose(Link.REFUSED)


def counting() -> tuple[DeviceImage, Block]:
    spec = device("bms", "bms_opcua_sim", transport="opcua")
    counts = {"reported_cells": 2, "reported_temps": 1}
    compiled = compile_device(profile.load("bms_opcua_sim"), spec, counts)
    return DeviceImage.of(compiled.blocks), compiled.blocks[0]


def test_a_counter_is_judged_by_when_it_last_moved():
    image, fast = counting()
    for at_s, count in ((0.0, 7.0), (1.0, 7.0), (2.0, 8.0), (3.0, 8.0)):
        values = Values(scalars={"heartbeat": (count, Quality.GOOD)})
        image.store(fast, values, NOW_S + at_s)
    assert image.heartbeat(NOW_S + 3) == Reading(8.0, NOW_S + 2)
    assert image.heartbeat(NOW_S + 6.1).quality is Quality.STALE, "the device itself is not heard"


def test_one_channel_of_an_array(image):
    heard(image, "cell_voltages", CELLS, NOW_S)
    assert channel(image, "cell_voltage_v", 1, NOW_S) == Reading(3.4, NOW_S)
    assert channel(image, "cell_voltage_v", 1, NOW_S + 3.1).quality is Quality.STALE
    assert channel(image, "cell_voltage_v", 2, NOW_S) == MISSING, "no such channel"
    image.arrays["cell_voltage_v"].quality = np.array([0, Quality.BAD], np.uint8)
    assert channel(image, "cell_voltage_v", 1, NOW_S) == Reading(None, NOW_S, Quality.BAD)
