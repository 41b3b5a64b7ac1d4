"""Golden vectors say why a value was not believed, and prove words of flags whole."""

import pytest

from ems.drivers.compiling import golden
from ems.drivers.compiling.compile import compile_device
from ems.yamlfile import FileErrors
from tests.drivers.bench import device
from tests.drivers.test_language import METER, load

POINTS = """\
  power_w:
    {at: 0, type: int16, scale_factor: exponent, unit: W, positive: import, range: [-900, 900],
     sentinels: [0x7FFF], valid_if: {point: mode, one_of: [1]}}
  exponent: {at: 1, type: int16, range: [-2, 0]}
  mode: {at: 2, type: uint16, enum: {0: local, 1: remote}}
golden:
  - {name: one, registers: {0: CONTENT}, expect: {NAME: 5}}
"""


@pytest.mark.parametrize(
    ("registers", "name", "why"),
    [
        pytest.param(
            "950, 1: 0, 2: 1", "power_w", "(950 is outside range -900 to 900)", id="range"
        ),
        pytest.param("5, 1: 1, 2: 1", "power_w", "(its scale factor exponent is bad)", id="factor"),
        pytest.param("0x7FFF, 2: 1", "power_w", "(raw 32767 is no value: ", id="sentinel"),
        pytest.param("5, 1: 0, 2: 0", "power_w", "(its valid_if does not hold)", id="condition"),
        pytest.param("5, 2: 7", "mode", "(raw 7 is no value: ", id="unknown code"),
    ],
)
def test_a_vector_says_why_a_value_was_not_believed(tmp_path, registers, name, why):
    head = METER[: METER.index("  power_w:")]
    text = POINTS.replace("CONTENT", registers).replace("NAME", name)
    with pytest.raises(FileErrors) as refused:
        load(tmp_path, head + text)
    assert f"{name} decodes to None, expected 5.0 {why}" in str(refused.value)


def test_a_value_that_is_merely_another_needs_no_reason(tmp_path):
    head = METER[: METER.index("  power_w:")]
    text = POINTS.replace("CONTENT", "7, 1: 0, 2: 1").replace("NAME", "power_w")
    with pytest.raises(FileErrors) as refused:
        load(tmp_path, head + text)
    assert str(refused.value).endswith("power_w decodes to 7.0, expected 5.0")


FLAGS = """\
bitfields:
  warnings: {at: 8, severity: warn, bits: {3: {name: hot, severity: derate}}}
  faults: {at: 9, severity: trip, bits: {5: {name: cold, severity: derate}}}
golden:
  - name: two flags of one word, while another word is the worse
    registers: {8: 0x0041, 9: 0x0020}
    expect: {warnings: 0x0041}
  - name: both words
    registers: {8: 0x8001, 9: 0x8003}
    expect: {warnings: 0x8001, faults: 0x8003, alarm_level: 3}
"""


def test_a_word_with_several_flags_is_proven_whatever_the_other_words_say(tmp_path):
    assert golden.failures(load(tmp_path, METER + FLAGS)) == []


def test_a_simulated_device_adds_the_flag_of_an_alarm_to_those_already_set(tmp_path):
    compiled = compile_device(load(tmp_path, METER + FLAGS), device("m", "own"))
    block = next(block for block in compiled.blocks if block.words)
    shown = block.decode(block.encode({"warnings": 0x0041, "alarm_level": 2.0}, {}))
    assert shown.words == {"warnings": 0x0049, "faults": 0}
