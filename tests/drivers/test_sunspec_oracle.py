"""pysunspec2, the SunSpec Alliance's own library, decodes the same registers to the same values."""

from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from ems.drivers import language
from ems.drivers.coding.block import Block
from ems.drivers.compiling.compile import compile_device
from tests.drivers.bench import device

client = pytest.importorskip("sunspec2.modbus.client")

NAMES = {
    ("pcs_sunspec_704", 701): {"power_w": "W"},
    ("pcs_sunspec_704", 704): {
        "setpoint_w": "WSet",
        "reversion_time_s": "WSetRvrtTms",
        "setpoint_enable": "WSetEna",
    },
}
"""Points of our profile and what the model calls them."""
LENGTH = {701: 153, 704: 65}


def payload_of(block: Block, model: list[int]) -> bytes:
    return b"".join(model[at].to_bytes(2, "big") for at in block.addresses())


def both_sides(profile: str, model_id: int, model: list[int]) -> dict[str, tuple[object, object]]:
    """(ours, theirs) of every point in :data:`NAMES`, for the registers of a whole model."""
    found = compile_device(language.load(profile), device("d", profile))
    blocks = [block for block in found.blocks if block.sunspec_model == model_id]
    scalars = {}
    for block in blocks:
        scalars |= block.decode(payload_of(block, model)).scalars
    data = b"".join(register.to_bytes(2, "big") for register in model)
    theirs = client.SunSpecModbusClientModel(model_id=model_id, data=data)
    return {
        name: (scalars[name][0], exact(theirs.points[point]))
        for name, point in NAMES[(profile, model_id)].items()
    }


def exact(point: Any) -> float | None:
    """Their raw content, scaled without the rounding of their ``raw * 10 ** factor``."""
    if point.value is None or not isinstance(point.value, int):
        return None
    factor = point.model.points[point.pdef["sf"]].value if point.pdef.get("sf") else 0
    return float(Decimal(point.value).scaleb(factor))


@pytest.mark.parametrize(("profile", "model_id"), list(NAMES))
def test_our_values_are_theirs(profile, model_id):
    rng = np.random.Generator(np.random.PCG64(model_id))
    names = NAMES[(profile, model_id)]
    seen = 0
    for _ in range(200):
        model = [int(register) for register in rng.integers(0, 0x10000, LENGTH[model_id] + 2)]
        model[:2] = [model_id, LENGTH[model_id]]
        factor = int(rng.integers(-3, 4)) & 0xFFFF
        model[116 if model_id == 701 else 55] = factor
        if model_id == 704:
            # Enumerations and the time must lie where our profile accepts them.
            model[22], model[23], model[31] = int(rng.integers(0, 2)), 1, 0
            model[24] = int(rng.choice([0, 0xFFFF]))
        for name, (ours, theirs) in both_sides(profile, model_id, model).items():
            if ours is None:
                # Theirs has no plausible range; what is not implemented is None for both.
                continue
            seen += 1
            assert ours == theirs, (names[name], model)
    assert seen > 100


@pytest.mark.parametrize(("profile", "model_id"), list(NAMES))
def test_what_is_not_implemented_is_a_value_for_neither(profile, model_id):
    model = [0xFFFF] * (LENGTH[model_id] + 2)
    model[:2] = [model_id, LENGTH[model_id]]
    signed = {701: [(10, 1)], 704: [(24, 2)]}[model_id]
    for at, width in signed:
        model[at] = 0x8000
        model[at + 1 : at + width] = [0] * (width - 1)
    model[116 if model_id == 701 else 55] = 0
    for ours, theirs in both_sides(profile, model_id, model).values():
        assert (ours, theirs) == (None, None)
