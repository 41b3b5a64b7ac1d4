"""The process image: ages, losses, heartbeats, and changes too fast to be true."""

import numpy as np
import pytest

from ems.drivers.coding.block import Block, Values
from ems.drivers.serving.freeze import channel
from ems.drivers.serving.image import DeviceImage
from ems.model import MISSING, Link, Quality, Reading
from tests.drivers.handmade import array_block, block

NOW_S = 100.0
STATUS = block("status", "voltage_v", "current_a")
CELLS = array_block("cells", "cell_voltage_v", 2)
BLOCKS = (STATUS, CELLS)


def heard(image: DeviceImage, of: Block, *registers: int, at_s: float = NOW_S) -> None:
    """The block answered with these registers."""
    payload = b"".join(r.to_bytes(2, "big", signed=True) for r in registers)
    image.store(of, of.decode(payload), at_s)


@pytest.fixture
def image() -> DeviceImage:
    return DeviceImage.of(BLOCKS)


def test_nothing_is_known_before_the_first_answer(image):
    assert image.read("voltage_v", NOW_S) == MISSING
    assert image.heartbeat(NOW_S) == MISSING
    assert image.link is Link.SILENT
    assert image.age_s(STATUS, NOW_S) is None


@pytest.mark.parametrize(
    ("age_s", "quality"),
    [
        pytest.param(0.0, Quality.GOOD, id="fresh"),
        pytest.param(3.0, Quality.GOOD, id="at its time to live: still good"),
        pytest.param(3.1, Quality.STALE, id="beyond: stale"),
    ],
)
def test_a_value_goes_stale_and_keeps_its_last_content(image, age_s, quality):
    heard(image, STATUS, 48, -5)
    assert image.read("current_a", NOW_S + age_s) == Reading(-5.0, NOW_S, quality)
    assert image.age_s(STATUS, NOW_S + age_s) == pytest.approx(age_s)


def test_on_a_slow_line_the_time_to_live_follows_the_period_that_is_kept(image):
    heard(image, STATUS, 48, 0)
    image.stretch(STATUS, 4 * STATUS.period_s)
    assert image.read("voltage_v", NOW_S + 12.0).quality is Quality.GOOD
    assert image.read("voltage_v", NOW_S + 12.1).quality is Quality.STALE
    image.stretch(STATUS, STATUS.period_s)
    assert image.read("voltage_v", NOW_S + 3.1).quality is Quality.STALE


def test_losing_the_link_forgets_every_value_at_once(image):
    heard(image, STATUS, 48, 5)
    heard(image, CELLS, 3312, 3400)
    image.lose(Link.REFUSED)
    assert image.link is Link.REFUSED
    assert image.read("current_a", NOW_S) == MISSING
    assert image.arrays == {}
    assert image.heartbeat(NOW_S) == MISSING


def test_an_answer_that_must_not_be_believed_spoils_its_whole_block(image):
    heard(image, STATUS, 48, 5)
    heard(image, CELLS, 3312, 3400)
    image.spoil(CELLS, NOW_S + 1)
    assert (image.arrays["cell_voltage_v"].quality == Quality.BAD).all()
    assert image.read("current_a", NOW_S + 1).quality is Quality.GOOD
    image.spoil(STATUS, NOW_S + 1)
    assert image.read("current_a", NOW_S + 1) == Reading(None, NOW_S + 1, Quality.BAD)


def test_a_device_that_is_not_the_one_described_has_no_values_until_it_is(image):
    heard(image, STATUS, 48, 5)
    heard(image, CELLS, 3312, 3400)
    image.distrusted = "serial is 'X', expected 'Y'"
    assert image.read("current_a", NOW_S) == Reading(None, NOW_S, Quality.BAD)
    assert channel(image, "cell_voltage_v", 0, NOW_S) == Reading(None, NOW_S, Quality.BAD)
    assert image.claimed("current_a") == 5.0, "what it says can still be compared"
    image.distrusted = ""
    assert image.read("current_a", NOW_S) == Reading(5.0, NOW_S)


def test_the_alarm_level_is_the_worst_of_its_parts_and_unknown_when_one_is():
    parts = (block("a", "alarm_a"), block("b", "alarm_b"))
    image = DeviceImage.of(parts, ("alarm_a", "alarm_b"))
    heard(image, parts[0], 1)
    assert image.read("alarm_level", NOW_S).quality is Quality.MISSING
    heard(image, parts[1], 3, at_s=NOW_S + 1)
    assert image.read("alarm_level", NOW_S + 1) == Reading(3.0, NOW_S)
    assert image.read("alarm_level", NOW_S + 3.5) == Reading(3.0, NOW_S, Quality.STALE)
    image.spoil(parts[0], NOW_S + 2)
    assert image.read("alarm_level", NOW_S + 2).quality is Quality.BAD


def test_without_a_counter_there_is_no_heartbeat(image):
    heard(image, STATUS, 48, 0)
    assert image.heartbeat(NOW_S) == MISSING


def counting() -> tuple[DeviceImage, Block]:
    fast = block("fast", "heartbeat")
    return DeviceImage.of([fast]), fast


def test_a_reconnect_does_not_make_a_frozen_device_look_alive():
    image, fast = counting()
    for at_s in (0.0, 30.0):
        heard(image, fast, 7, at_s=NOW_S + at_s)
        assert image.heartbeat(NOW_S + at_s).at_s == NOW_S
        image.lose(Link.REFUSED)


def test_a_counter_is_judged_by_when_it_last_moved():
    image, fast = counting()
    for at_s, count in ((0.0, 7), (1.0, 7), (2.0, 8), (3.0, 8)):
        heard(image, fast, count, at_s=NOW_S + at_s)
    assert image.heartbeat(NOW_S + 3) == Reading(8.0, NOW_S + 2)
    assert image.heartbeat(NOW_S + 6.1).quality is Quality.STALE, "the device itself is not heard"


def test_one_channel_of_an_array(image):
    heard(image, CELLS, 3312, 3400)
    assert channel(image, "cell_voltage_v", 1, NOW_S) == Reading(3400.0, NOW_S)
    assert channel(image, "cell_voltage_v", 1, NOW_S + 3.1).quality is Quality.STALE
    assert channel(image, "cell_voltage_v", 2, NOW_S) == MISSING, "no such channel"
    image.arrays["cell_voltage_v"].quality = np.array([0, Quality.BAD], np.uint8)
    assert channel(image, "cell_voltage_v", 1, NOW_S) == Reading(None, NOW_S, Quality.BAD)


LIMITED = block("limited", "temp_c", period_s=1.0, rules={"temp_c": {"max_rate_per_s": 2.0}})


@pytest.mark.parametrize(
    ("samples", "believed"),
    [
        pytest.param([20, 22], [20, 22], id="at the limit: believed"),
        pytest.param([20, 23], [20, None], id="faster: not believed"),
        pytest.param([20, 90, 21], [20, None, 21], id="a single wild sample is passed over"),
        pytest.param([20, 90, 91, 90], [20, None, None, 90], id="three that agree: it is so"),
        pytest.param([20, 90, 50, 90, 50], [20] + 4 * [None], id="noise is never believed"),
        pytest.param([20, 90, 90, 21, 90], [20, None, None, 21, None], id="counting starts anew"),
    ],
)
def test_a_change_too_fast_to_be_true(samples, believed):
    image = DeviceImage.of([LIMITED])
    for second, sample in enumerate(samples):
        heard(image, LIMITED, sample, at_s=NOW_S + second)
        reading = image.read("temp_c", NOW_S + second)
        assert reading.value == believed[second]
        assert reading.quality is (Quality.BAD if believed[second] is None else Quality.GOOD)


def test_two_samples_within_one_period_are_a_period_apart():
    image = DeviceImage.of([LIMITED])
    heard(image, LIMITED, 20)
    heard(image, LIMITED, 22, at_s=NOW_S + 0.01)
    assert image.read("temp_c", NOW_S + 0.01).value == 22.0, "the device renewed it in between"


def test_after_a_pause_a_large_change_is_possible_again():
    image = DeviceImage.of([LIMITED])
    heard(image, LIMITED, 20)
    heard(image, LIMITED, 60, at_s=NOW_S + 20.0)
    assert image.read("temp_c", NOW_S + 20.0).value == 60.0


def test_each_element_of_an_array_is_judged_for_itself():
    cells = array_block("cells", "cell_temp_c", 2, max_rate_per_s=2.0)
    image = DeviceImage.of([cells])
    for second, temps in enumerate(([20, 20], [20, 80], [21, 80], [21, 80], [21, 81])):
        heard(image, cells, *temps, at_s=NOW_S + second)
        first = channel(image, "cell_temp_c", 0, NOW_S + second)
        other = channel(image, "cell_temp_c", 1, NOW_S + second)
        assert first.value == temps[0]
        assert other.value == (None if second in (1, 2) else temps[1])


def test_an_element_that_was_bad_is_not_compared():
    cells = array_block("cells", "cell_temp_c", 1, max_rate_per_s=2.0)
    image = DeviceImage.of([cells])
    for second, (value, quality) in enumerate([(0, Quality.BAD), (25, Quality.GOOD)]):
        arrays = {"cell_temp_c": (np.array([float(value)]), np.array([quality], np.uint8))}
        image.store(cells, Values(arrays=arrays), NOW_S + second)
    assert channel(image, "cell_temp_c", 0, NOW_S + 1).value == 25.0
