"""Addresses as a manual writes them, with one count for all tables or one for each."""

import pytest

from ems.drivers.compiling.compile import compile_device
from ems.yamlfile import FileErrors
from tests.drivers.bench import device
from tests.drivers.test_language import METER, load

TWO_TABLES = METER.replace(
    "link: {protocol: modbus,",
    "link: {protocol: modbus, address_base: {holding: 40001, input: 0},",
).replace("at: 0, type: int32", "at: 7, table: input, type: int32") + (
    "  limit_w: {at: 40021, type: uint16, unit: W, access: rw, write_range: [0, 9]}\n"
    "  ratio: {at: 40030, type: uint16}\n"
    "golden:\n"
    "  - {name: import, table: input, registers: {7: 0, 8: 5}, expect: {power_w: 5}}\n"
    "  - {name: limit, registers: {40021: 9}, expect: {limit_w: 9}, commands: {limit_w: 9}}\n"
)


def sent(compiled) -> dict[str, list[tuple[int, int]]]:
    """First register and count of every request, by table."""
    found: dict[str, list[tuple[int, int]]] = {}
    for block in compiled.blocks:
        found.setdefault(block.table, []).extend(block.requests)
    return found


def test_each_table_is_counted_as_the_manual_counts_it(tmp_path):
    compiled = compile_device(load(tmp_path, TWO_TABLES), device("m", "own"))
    assert sent(compiled) == {"input": [(7, 2)], "holding": [(20, 10)]}
    assert compiled.points["limit_w"].at == 20


@pytest.mark.parametrize(
    ("addition", "holding"),
    [
        pytest.param("holes: [{first: 40025, last: 40026}]", [(20, 1), (29, 1)], id="a hole"),
        pytest.param("max_hole: 0", [(20, 1), (29, 1)], id="nothing passed over"),
    ],
)
def test_holes_are_counted_like_their_table(tmp_path, addition, holding):
    text = TWO_TABLES.replace("link: {protocol: modbus,", f"link: {{protocol: modbus, {addition},")
    compiled = compile_device(load(tmp_path, text), device("m", "own"))
    assert sent(compiled)["holding"] == holding


def test_pinned_blocks_are_counted_like_their_table(tmp_path):
    text = TWO_TABLES.replace(
        "points:",
        "blocks:\n  power: {table: input, start: 5, count: 6, poll: fast}\n"
        "  rest: {start: 40011, count: 30, poll: slow}\npoints:",
        1,
    )
    compiled = compile_device(load(tmp_path, text), device("m", "own"))
    assert sent(compiled) == {"input": [(5, 6)], "holding": [(10, 30)]}


def test_a_table_that_is_not_named_is_counted_as_sent(tmp_path):
    text = TWO_TABLES.replace("{holding: 40001, input: 0}", "{holding: 40001}")
    assert load(tmp_path, text).link.base("input", None) == 0


def test_an_address_below_the_count_leads_to_the_way_out(tmp_path):
    text = TWO_TABLES.replace("{holding: 40001, input: 0}", "40001")
    with pytest.raises(FileErrors) as refused:
        load(tmp_path, text)
    assert "points.power_w.at: lies below link.address_base, 40001; where the manual counts" in str(
        refused.value
    )
    assert "address_base: {holding: 40001, input: 0}" in str(refused.value)
