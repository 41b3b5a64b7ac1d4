"""The SunSpec chain is found, followed by length, and distrusted when it makes no sense."""

import asyncio

import pytest

from ems.drivers.link import BadAnswer, DeviceRefusal
from ems.drivers.modbus.sunspec import Model, discover


def chain(base: int, *models: tuple[int, int]) -> dict[int, int]:
    """Registers of a chain of (id, length)."""
    found = {base: 0x5375, base + 1: 0x6E53}
    at = base + 2
    for number, length in models:
        found |= {at: number, at + 1: length}
        at += length + 2
    return found


def run(registers: dict[int, int], refuse: bool = False) -> dict[int, Model]:
    async def read(address: int, count: int) -> bytes:
        if refuse and address not in registers:
            raise DeviceRefusal("Modbus exception 2")
        return b"".join(registers.get(address + k, 0).to_bytes(2, "big") for k in range(count))

    return asyncio.run(discover(read))


@pytest.mark.parametrize("base", [40000, 0, 50000])
@pytest.mark.parametrize("refuse", [True, False], ids=["else refused", "else zeros"])
def test_the_marker_is_looked_for_in_three_places(base, refuse):
    registers = chain(base, (1, 66), (704, 65), (0xFFFF, 0))
    assert run(registers, refuse) == {1: Model(base + 2, 66), 704: Model(base + 70, 65)}


def test_only_the_length_tells_where_the_next_model_is():
    # A vendor that extends model 1 by two registers.
    assert run(chain(40000, (1, 68), (704, 65), (0xFFFF, 0)))[704] == Model(40072, 65)


def test_the_first_of_two_equal_models_counts():
    assert run(chain(0, (704, 65), (704, 65), (0xFFFF, 0)))[704].start == 2


def test_no_marker_is_an_error():
    with pytest.raises(BadAnswer, match="no SunSpec marker"):
        run({})


def test_a_chain_without_end_is_an_error():
    with pytest.raises(BadAnswer, match="does not end"):
        run(chain(40000))
