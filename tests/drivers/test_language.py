"""Everything a person can mistype in a profile gives one clear message with its place."""

from pathlib import Path

import pytest

from ems.drivers import language
from ems.drivers.compiling.compile import compile_device
from ems.drivers.device import CompiledDevice, ProfileMisfit, Severity
from ems.drivers.language import Profile
from ems.yamlfile import FileErrors
from tests.drivers.bench import device

METER = """\
schema: 2
kind: meter
vendor: v
device: d
summary: s
maturity: template
provenance: [{source: s, licence: l, facts: f}]
link: {protocol: modbus, poll_ms: {fast: 500, slow: 2000}}
points:
  power_w: {at: 0, type: int32, unit: W, positive: import}
"""
"""The smallest profile there is."""

PCS = """\
schema: 2
kind: converter
vendor: v
device: d
summary: s
maturity: template
provenance: [{source: s, licence: l, facts: f}]
link: {protocol: modbus, poll_ms: {fast: 500, slow: 2000}}
identity:
  - {point: model, matches: "PCS-.*"}
points:
  model: {at: 1, type: string, length: 8, poll: once}
  state: {at: 20, type: uint16, enum: {0: standby, 1: run, 2: fault}}
  remote: {at: 21, type: uint16, enum: {0: local, 1: remote}}
  power_w: {at: 22, type: int16, scale: 10, unit: W, positive: discharge}
  setpoint_w:
    {at: 23, type: int16, scale: 100, unit: W, positive: discharge, access: rw,
     write_range: [-9000, 9000]}
  dc_voltage_v: {at: 24, type: uint16, scale: 0.1, unit: V, range: [0, 1500]}
  dc_current_a: {at: 25, type: int16, scale: 0.1, unit: A, positive: charge}
  timeout_s: {at: 30, poll: slow, type: uint16, unit: s, access: rw, write_range: [0, 600]}
  start: {at: 31, type: uint16, access: rw, write_range: [0, 1]}
  high_v: {at: 40, poll: slow, type: uint16, scale: 0.1, unit: V, access: rw, write_range: [0, 900]}
  low_v: {at: 41, poll: slow, type: uint16, scale: 0.1, unit: V, access: rw, write_range: [0, 900]}
  beat: {at: 50, type: uint16, access: w, write_range: [0, 65535]}
bitfields:
  faults: {at: 44, severity: trip, others: ignore,
           bits: {3: BMS alert, 5: {name: EMS time-out, severity: warn}}}
device_timeout: {point: timeout_s, on_expiry: it goes to 0 W}
heartbeats:
  write: {point: beat, period_s: 2}
writes:
  power:
    steps:
      - {point: start, value: 1, clears_within_s: 1}
      - {point: setpoint_w, value: power_w}
    readback: {point: setpoint_w, tolerance: 1, delay_s: 0.2}
    effect: {point: power_w, tolerance: 200, within_s: 10}
    requires:
      - {point: remote, one_of: [remote]}
    descending: [[high_v, low_v]]
    repeat_s: 864
    daily_budget: 100
safe_state:
  - {point: setpoint_w, value: 0}
golden:
  - name: discharging
    registers: {20: 1, 22: 499, 23: 49}
    expect: {state: 2, power_w: 4990, setpoint_w: 4900}
  - name: a command is rounded towards zero
    registers: {23: 49}
    commands: {setpoint_w: 4999}
"""
"""A profile that uses most of the language."""


def load(tmp_path: Path, text: str) -> Profile:
    path = tmp_path / "own.yaml"
    path.write_text(text, encoding="utf-8")
    return language.read(path)


def compiled(tmp_path: Path, text: str) -> CompiledDevice:
    return compile_device(load(tmp_path, text), device("d", "own"))


def test_a_profile_of_the_users_own_is_loaded_by_path(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text(METER, encoding="utf-8")
    assert language.load(str(path)).provides == {"power_w"}


def test_the_rules_of_a_profile_reach_the_device_in_plain_form(tmp_path):
    found = compiled(tmp_path, PCS)
    power = found.writes["power"]
    assert [step.clears_within_s for step in power.steps] == [1.0, 0.0]
    assert power.requires[0].problem(0.0) == "remote is 0, not remote"
    assert power.requires[0].problem(1.0) == ""
    assert (power.descending, power.daily_budget) == ((("high_v", "low_v"),), 100)
    assert power.readback is not None
    assert power.readback.delay_s == 0.2
    assert found.timeout is not None
    assert (found.timeout.expected_s, found.timeout.enforce) == (None, True)
    assert found.heartbeat_write is not None
    assert (found.heartbeat_write.point, found.heartbeat_write.period_s) == ("beat", 2.0)
    (check,) = found.identity
    assert check.problem("PCS-100") == ""
    assert check.problem("ESS-100") == "model is 'ESS-100', expected a match of 'PCS-.*'"
    assert check.problem(None) == "model cannot be read"


def test_each_flag_raises_the_alarm_level_that_the_profile_declares(tmp_path):
    found = compiled(tmp_path, PCS)
    block = next(block for block in found.blocks if block.words)
    faults = found.bitfields["faults"]

    def level(word: int) -> float | None:
        image = block.encode({"faults": word}, {})
        values = block.decode(image)
        assert values.words == {"faults": word}
        return values.scalars["alarm_level"][0]

    assert [level(0), level(1 << 5), level(1 << 3), level(1 << 3 | 1 << 5)] == [0, 1, 3, 3]
    assert level(1 << 9) == 0, "bits nobody documented are ignored, as the profile says"
    assert [bit.name for bit in faults.active(1 << 3 | 1 << 5)] == ["BMS alert", "EMS time-out"]
    assert [bit.severity for bit in faults.active(1 << 5)] == [Severity.WARN]


def test_only_a_bit_nobody_documented_counts_as_the_profile_says_of_others(tmp_path):
    text = PCS.replace("others: ignore", "others: derate")
    block = next(block for block in compiled(tmp_path, text).blocks if block.words)
    (word,) = block.words
    assert [word.level(1 << bit) for bit in (3, 5, 9)] == [3, 1, 2]


MISTAKES = [
    # what a person types, what it should have been, where it is, words of the message
    ("unit: W, positive: import", "unit: kW, positive: import", "10:39", "multiply scale by 1000"),
    ("at: 0, ", "", "10:12", "at is needed"),
    ("type: int32", "typ: int32", "10:20", "did you mean 'type'"),
    ("type: int32", "type: int33", "10:26", "must be one of"),
    (", positive: import", "", "10:12", "positive is missing: import or export?"),
    ("positive: import", "positive: discharge", "10:52", "must be import or export"),
    ("kind: meter", "kind: pack", "10:3", "voltage_v: neither a point nor"),
    ("unit: W", "poll: often, unit: W", "10:39", "poll class 'often' is not in link.poll_ms"),
    ("unit: W", "scale_factor: factor_w, unit: W", "10:47", "'factor_w' is not a point"),
    ("unit: W", "scale: 0, unit: W", "10:40", "must not be 0"),
    ("schema: 2", "schema: 1", "1:9", "device-profiles.md says what changed"),
    ("+", "  energy: {at: 1, type: uint32}", "11:11", "belongs to power_w already"),
    (
        "slow: 2000}}",
        "slow: 2000}, holes: [{first: 1, last: 1}]}",
        "10:12",
        "lies in link.holes[0]",
    ),
    ("slow: 2000}}", "slow: 2000}, opcua_mode: batch}", "8:72", "has no meaning for modbus"),
    ("slow: 2000}}", "slow: 2000}, atomic: [[power_w, powr]]}", "8:69", "'powr' is not a point"),
    ("unit: W", "range: [10, 5], unit: W", "10:40", "ends before it begins"),
    ("unit: W", "words: [1, 0], unit: W", "10:12", "at is needed (or words), and only that"),
    ("unit: W", "bits: [0, 3], unit: W", "10:39", "uint16, uint32 or uint64"),
    ("unit: W", "stride: 2, unit: W", "10:41", "needs a count"),
    ("unit: W", "count: 4, stride: 1, unit: W", "10:51", "shorter than one int32"),
    ("unit: W", "access: rw, unit: W", "10:12", "write_range is missing"),
    (
        "unit: W",
        "valid_if: {point: nobody, one_of: [1]}, unit: W",
        "10:43",
        "'nobody' is not a point",
    ),
    ("+", "safe_state: [{point: power_w, value: 0}]", "11:22", "'power_w' is not a writable point"),
    ("+", "not_provided: {power_w: x}", "11:25", "is provided"),
    (
        "+",
        "golden: [{name: g, registers: {1: 5}, expect: {power: 5}}]",
        "11:10",
        "did you mean 'power_w'",
    ),
    (
        "+",
        "golden: [{name: g, registers: {1: 70000}, expect: {power_w: 5}}]",
        "11:35",
        "70000 does not fit a register",
    ),
    (
        "+",
        "golden: [{name: five, registers: {1: 5}, expect: {power_w: 6}}]",
        "11:10",
        "vector 'five': power_w decodes to 5.0, expected 6.0",
    ),
    (
        "+",
        "  soc_frac: {at: 9, type: uint16, unit: \"1\", range: [0, 1]}",
        "11:3",
        "only 2 contents within range 0..1; is the scale right?",
    ),
    (
        "+",
        "  hot_c: {at: 9, type: uint16, unit: degC, range: [-50, -10]}",
        "11:51",
        "no content of a uint16 lies within it",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("right", "wrong", "where", "words"), MISTAKES)
def test_a_mistake_in_a_meter_is_told_with_its_place(tmp_path, right, wrong, where, words):
    assert right in f"{METER}+"
    text = f"{METER}{wrong}\n" if right == "+" else METER.replace(right, wrong)
    with pytest.raises(FileErrors) as refused:
        load(tmp_path, text)
    text = str(refused.value)
    assert words in text
    assert f"own.yaml:{where}: " in text, text


@pytest.mark.parametrize(
    ("right", "wrong", "words"),
    [
        ("value: power_w}", "value: load_on}", "load_on is not brought along by this command"),
        ("value: 1, clears", "value: 5, clears", "5 is outside write_range 0..1"),
        ("value: 1, clears", "value: go, clears", "unknown value 'go'"),
        ("period_s: 2}", "period_s: 2, wrap: 70000}", "70000 is outside write_range 0..65535"),
        ("timeout_s, on_expiry", "timeout_s, value: 900, on_expiry", "900 is outside write_range"),
        ("{point: remote, one_of", "{point: model, one_of", "'model' is a text where a number"),
        ("golden:\n", "simulator: {remote: near}\ngolden:\n", "'near' is no word of remote"),
        (
            "readback: {point: setpoint_w",
            "readback: {point: power_w",
            "written by none of the steps",
        ),
        ("one_of: [remote]", "one_of: [remot]", "'remot' is no word of remote; did you mean"),
        ("descending: [[high_v, low_v]]", "descending: [[high_v, lo_v]]", "did you mean 'low_v'"),
        ("repeat_s: 864", "repeat_s: 60", "give repeat_s at least 864"),
        ("safe_state:\n  - {point: setpoint_w, value: 0}\n", "", "needs a safe_state"),
        ("{point: timeout_s, on", "{point: power_w, on", "'power_w' is not a writable point"),
        ("{point: beat, period", "{point: model, period", "'model' is not a writable point"),
        ('matches: "PCS-.*"', 'matches: "PCS-("', "is not a regular expression"),
        ('matches: "PCS-.*"', "equals: 5", "put its content in quotes"),
        ('matches: "PCS-.*"', 'matches: x, equals: "y"', "exactly one of"),
        ("2: fault}", "2: broken}", "unknown code 'broken'"),
        ("2: fault}", "2: fault}, unknown: uncertain", "cannot be taken on trust"),
        ("bits: {3: BMS", "bits: {31: BMS", "uint16 has bits 0 to 15 only"),
        ("length: 8, ", "", "registers of the string"),
        ("length: 8, ", "length: 8, scale: 2, ", "has no meaning for a string"),
        (
            "commands: {setpoint_w: 4999}",
            "commands: {setpoint_w: 5000}",
            "sent as [50], expected [49]",
        ),
        ("setpoint_w: 4900}", "setpoint_w: 4990}", "setpoint_w decodes to 4900.0, expected 4990.0"),
        ("poll: once}", "poll: one}", "did you mean 'once'"),
        ("scale: 100,", "scale: 100, quantum: 150,", "150 is no multiple of scale 100"),
        ("scale: 100,", "scale: 100, offset: 50,", "must be a multiple of scale"),
        ("scale: 100,", "scale: 100, sign: -1,", "is said by positive already"),
        ("{at: 44, severity: trip,", "{at: 44,", "severity: is missing"),
        (
            "heartbeats:\n",
            "heartbeats:\n  read: {max_age_s: 5}\n",
            "needs a point called heartbeat",
        ),
    ],
)  # fmt: skip
def test_a_mistake_in_a_converter_is_told(tmp_path, right, wrong, words):
    assert right in PCS
    with pytest.raises(FileErrors) as refused:
        load(tmp_path, PCS.replace(right, wrong, 1))
    assert words in str(refused.value)


def test_several_mistakes_are_told_at_once_in_the_order_of_the_file(tmp_path):
    text = METER.replace("unit: W", "unit: V").replace("positive: import", "positive: charge")
    with pytest.raises(FileErrors) as refused:
        load(tmp_path, text)
    assert [error.path for error in refused.value.errors] == [
        "points.power_w.unit",
        "points.power_w.positive",
    ]


def test_one_register_may_mean_two_things_when_the_profile_says_so(tmp_path):
    twice = "positive: import}\n  flags: {at: 1, type: uint16, alias: true}"
    assert "flags" in load(tmp_path, METER.replace("positive: import}", twice)).points


def test_parts_of_one_word_do_not_overlap(tmp_path):
    parts = (
        "positive: import}\n"
        "  low: {at: 9, type: uint16, bits: [0, 7]}\n"
        "  high: {at: 9, type: uint16, bits: [8, 15]}"
    )
    assert len(load(tmp_path, METER.replace("positive: import}", parts)).points) == 3
    with pytest.raises(FileErrors, match="belongs to low already"):
        load(tmp_path, METER.replace("positive: import}", parts.replace("[8, 15]", "[7, 15]")))


def test_an_array_that_runs_into_a_point_is_found_when_its_length_is_known(tmp_path):
    text = METER.replace(
        "positive: import}",
        "positive: import}\n  load_on: {at: 10, type: uint16, count: reported_cells}\n"
        "  other: {at: 20, type: uint16}",
    )
    found = load(tmp_path, text)
    compile_device(found, device("d", "own"), {"reported_cells": 10})
    with pytest.raises(ProfileMisfit, match=r"other: register 20 .* belongs to load_on already"):
        compile_device(found, device("d", "own"), {"reported_cells": 11})


def test_an_unknown_profile_names_the_nearest():
    with pytest.raises(FileNotFoundError, match="did you mean 'bms_rack_0x2000'"):
        language.load("bms_rack_0x200")


PINNED = METER.replace("points:", "blocks:\n  all: {start: 0, count: 4, poll: fast}\npoints:")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param(
            PINNED.replace("count: 4", "count: 1"), "power_w: lies in no block", id="half outside"
        ),
        pytest.param(
            PINNED.replace("  all: {", "  more: {start: 0, count: 2, poll: fast}\n  all: {"),
            "lies in more and all",
            id="twice",
        ),
        pytest.param(
            METER.replace("unit: W", "unit: W, count: reported_cells"),
            "packs only",
            id="array size",
        ),
        pytest.param(
            METER.replace("slow: 2000}}", "slow: 2000}, transports: [rtu]}"),
            "is reached by modbus_rtu, the site file says modbus_tcp",
            id="another transport",
        ),
        pytest.param(
            METER.replace("slow: 2000}}", "slow: 2000}, max_read_registers: 1}"),
            "must come in one answer, which holds 1 registers",
            id="longer than an answer",
        ),
        pytest.param(
            METER.replace("2000}}", "2000}, atomic: [[power_w, far]], max_read_registers: 9}")
            + "  far: {at: 90, type: uint16}\n",
            "registers 0 to 90",
            id="atomic, too far apart",
        ),
    ],
)
def test_a_profile_that_cannot_be_compiled_says_why(tmp_path, text, words):
    with pytest.raises((ProfileMisfit, FileErrors), match=words):
        compile_device(load(tmp_path, text), device("m", "own"))


def test_a_32_bit_command_needs_more_than_one_register_per_write(tmp_path):
    # With function 6 the two halves would arrive separately: a moment of nonsense power.
    text = METER.replace("slow: 2000}}", "slow: 2000}, write_function: 6}").replace(
        "unit: W", "unit: W, access: rw, write_range: [0, 1]"
    )
    with pytest.raises(FileErrors, match="does not fit one write"):
        load(tmp_path, text)


def test_checking_a_file_tells_everything_without_raising(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text(METER, encoding="utf-8")
    assert language.check_file(path) == [f"{path}: no golden vector for power_w"]
    path.write_text(METER.replace("unit: W", "unit: V"), encoding="utf-8")
    (line,) = language.check_file(path)
    assert line.startswith(f"{path}:10:39: points.power_w.unit: unit is 'W'")
    (line,) = language.check_file(tmp_path / "none.yaml")
    assert "no such file" in line
