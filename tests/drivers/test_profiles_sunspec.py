"""Profiles of SunSpec devices against the model definitions that come with pysunspec2."""

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ems.drivers import language
from ems.drivers.language import Profile
from ems.drivers.language.shape import first

client = pytest.importorskip("sunspec2.modbus.client")

MODELS = Path(client.__file__).parents[1] / "models" / "json"
PROFILES = [
    name
    for name in language.shipped()
    if any(p.sunspec_model for p in language.load(name).points.values())
]
TYPES = {
    "int16": {"int16", "sunssf"},
    "uint16": {"uint16", "enum16"},
    "int32": {"int32"},
    "uint32": {"uint32", "acc32"},
    "string": {"string"},
}
"""Our types, and the types of the models they may stand for."""


def definition(model: int) -> dict[int, dict[str, Any]]:
    """Points of a model by offset, the first of each repeating group included."""

    def points(group: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield from group.get("points", ())
        for inner in group.get("groups", ()):
            yield from points(inner)

    group = json.loads((MODELS / f"model_{model}.json").read_text(encoding="utf-8"))["group"]
    found, offset = {}, 0
    for point in points(group):
        found[offset] = point
        offset += point["size"]
    return found


def numbers_of(point: dict[str, Any]) -> set[int]:
    return {symbol["value"] for symbol in point.get("symbols", ())}


def sunspec_points(profile: Profile) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """(name, ours, theirs)."""
    for name, spec in profile.points.items():
        if spec.sunspec_model is not None:
            yield name, spec, definition(spec.sunspec_model)[first(spec)]


def test_four_profiles_speak_sunspec():
    assert PROFILES == [
        "battery_sunspec_802", "meter_sunspec_203", "pcs_sunspec_704", "pv_sunspec_103",
    ]  # fmt: skip


@pytest.mark.parametrize("profile", PROFILES)
class TestEveryPoint:
    def test_lies_where_the_model_has_one_of_that_type(self, profile):
        for name, ours, theirs in sunspec_points(language.load(profile)):
            assert theirs["type"] in TYPES[ours.type], name
            assert ours.type != "string" or ours.length == theirs["size"], name
            assert not ours.tag or ours.tag == f"{ours.sunspec_model}.{theirs['name']}"

    def test_is_scaled_by_the_scale_factor_that_the_model_names(self, profile):
        found = language.load(profile)
        for name, ours, theirs in sunspec_points(found):
            if isinstance(theirs.get("sf"), str):
                factor = found.points[ours.scale_factor]
                where = definition(factor.sunspec_model)[first(factor)]
                assert (factor.sunspec_model, where["name"]) == (ours.sunspec_model, theirs["sf"])
            else:
                assert not ours.scale_factor, name

    def test_is_written_only_where_the_model_allows_it(self, profile):
        for name, ours, theirs in sunspec_points(language.load(profile)):
            assert ours.access == "r" or theirs.get("access") == "RW", name

    def test_names_only_codes_and_bits_of_the_model(self, profile):
        found = language.load(profile)
        for name, ours, theirs in sunspec_points(found):
            assert set(ours.enum) <= numbers_of(theirs), name
        for name, field in found.bitfields.items():
            theirs = definition(field.sunspec_model)[field.at]
            assert theirs["type"] == f"bitfield{field.type.removeprefix('uint')}", name
            assert set(field.bits) <= numbers_of(theirs), name


@pytest.mark.parametrize("profile", PROFILES)
def test_what_the_models_call_mandatory_is_all_the_ems_relies_on(profile):
    """A model in the chain that must be there brings the points; optional ones may be missing."""
    found = language.load(profile)
    needed = set(found.link.sunspec_models)
    optional = {
        name
        for name, ours, theirs in sunspec_points(found)
        if name in found.provides
        and (ours.sunspec_model not in needed or theirs.get("mandatory") != "M")
    }
    known = {
        "battery_sunspec_802": {
            "soh_frac", "heartbeat", "cell_voltage_v", "cell_temp_c", "charge_limit_a",
            "discharge_limit_a",
        },
        "meter_sunspec_203": set(),
        "pcs_sunspec_704": {"power_w", "setpoint_w", "state", "dc_voltage_v", "dc_current_a"},
        "pv_sunspec_103": set(),
    }  # fmt: skip
    assert optional == known[profile], "each of these is bad or missing on a frugal device"


def vectors() -> list[tuple[str, Any]]:
    return [
        pytest.param(name, vector, id=f"{name}: {vector.name}")
        for name in PROFILES
        for vector in language.load(name).golden
        if vector.sunspec_model not in (None, 714, 803) and vector.expect
    ]


@pytest.mark.parametrize(("profile", "vector"), vectors())
def test_golden_vectors_mean_the_same_to_the_sunspec_alliance(profile, vector):
    found = language.load(profile)
    layout = definition(vector.sunspec_model)
    length = max(layout) + layout[max(layout)]["size"]
    registers = [vector.registers.get(at, 0) for at in range(length)]
    registers[:2] = vector.sunspec_model, length - 2
    data = b"".join(register.to_bytes(2, "big") for register in registers)
    model = client.SunSpecModbusClientModel(model_id=vector.sunspec_model, data=data)
    for name, expected in vector.expect.items():
        spec = found.points.get(name)
        if spec is None or spec.enum or isinstance(expected, list | str):
            continue
        point = model.points[layout[first(spec)]["name"]]
        factor = model.points[point.pdef["sf"]].value if point.pdef.get("sf") else 0
        if expected is None:
            assert point.value is None or factor is None, name
        else:
            assert float(Decimal(point.value).scaleb(factor) * spec.scale) == expected, name
