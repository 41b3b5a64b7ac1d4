"""The planner finds the optimum, and what it makes of the shipped profiles."""

import itertools
import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ems.drivers import language
from ems.drivers.compiling.blockplan import Cost, Limits, Line, NoPlan, Request, Span, plan
from ems.drivers.compiling.compile import compile_device
from ems.drivers.device import CompiledDevice
from ems.drivers.language.link import BlockSpec
from tests.drivers.bench import device

REQUESTS = Cost.of_requests()
LINE = Line(9600, 10)


def allowed(request: Request, spans: list[Span], limits: Limits) -> bool:
    """Whether the device gives this range in one answer."""
    first, count = request
    if count > limits.max_registers:
        return False
    if any(hole.first < first + count and hole.last >= first for hole in limits.holes):
        return False
    used = {r for s in spans if s.first >= first and s.last < first + count
            for r in range(s.first, s.last + 1)}  # fmt: skip
    unused = 0
    for register in range(first, first + count):
        unused = 0 if register in used else unused + 1
        if unused > limits.max_hole:
            return False
    return True


def brute_force(spans: list[Span], limits: Limits, cost: Cost) -> float:
    """Cost of the best of all sets of ranges that begin and end at some span."""
    ranges = {
        (a.first, b.last - a.first + 1)
        for a in spans for b in spans if b.last >= a.first
    }  # fmt: skip
    ranges = {r for r in ranges if allowed(r, spans, limits)}
    best = math.inf
    for size in range(1, len(spans) + 1):
        for chosen in itertools.combinations(sorted(ranges), size):
            if all(any(f <= s.first and s.last < f + n for f, n in chosen) for s in spans):
                best = min(best, cost.total(chosen))
    return best


@st.composite
def problems(draw) -> tuple[list[Span], Limits]:
    first = st.integers(0, 40)
    spans = [
        Span(at, at + size - 1)
        for at, size in draw(
            st.lists(st.tuples(first, st.integers(1, 6)), min_size=1, max_size=5, unique=True)
        )
    ]
    holes = [
        Span(at, at + size)
        for at, size in draw(st.lists(st.tuples(first, st.integers(0, 1)), max_size=1))
    ]
    limits = Limits(draw(st.integers(6, 30)), draw(st.integers(0, 12)), tuple(holes))
    return spans, limits


@given(problem=problems(), cost=st.sampled_from([REQUESTS, Cost.of_line(LINE), Cost(0.0, 1.0)]))
def test_no_plan_is_cheaper(problem, cost):
    spans, limits = problem
    try:
        found = plan(spans, limits, cost)
    except NoPlan:
        assume(False)
    for span in spans:
        assert any(f <= span.first and span.last < f + n for f, n in found)
    for request in found:
        assert allowed(request, spans, limits)
    assert cost.total(found) == pytest.approx(brute_force(spans, limits, cost))


@pytest.mark.parametrize(
    ("spans", "limits", "requests"),
    [
        pytest.param([Span(0, 0), Span(9, 9)], Limits(10, 8), [(0, 10)], id="just in reach"),
        pytest.param([Span(0, 0), Span(9, 9)], Limits(9, 8), [(0, 1), (9, 1)], id="too long"),
        pytest.param([Span(0, 0), Span(9, 9)], Limits(10, 7), [(0, 1), (9, 1)], id="gap too wide"),
        pytest.param(
            [Span(0, 0), Span(9, 9)], Limits(10, 8, (Span(5, 5),)), [(0, 1), (9, 1)], id="a hole"
        ),
        pytest.param([], Limits(), [], id="nothing to read"),
    ],
)
def test_limits_of_the_device_hold(spans, limits, requests):
    assert plan(spans, limits, REQUESTS) == requests


def test_a_serial_line_bridges_only_what_is_cheaper_than_another_request():
    cost = Cost.of_line(LINE)
    assert cost.per_request == pytest.approx((13 + 7) * LINE.char_s), "frames and two pauses"
    near, far = [Span(0, 0), Span(10, 10)], [Span(0, 0), Span(12, 12)]
    assert plan(near, Limits(), cost) == [(0, 11)], "9 unused registers are 18 characters"
    assert plan(far, Limits(), cost) == [(0, 1), (12, 1)], "11 are 22"


def test_what_must_come_together_but_cannot_is_named():
    with pytest.raises(NoPlan, match=r"registers 0 to 9 \(0x0 to 0x9\) .* holds 5 registers"):
        plan([Span(0, 9)], Limits(5), REQUESTS)
    with pytest.raises(NoPlan, match="must not be read"):
        plan([Span(0, 9)], Limits(10, 5, (Span(3, 3),)), REQUESTS)


COUNTS = {"reported_cells": 240, "reported_temps": 80}


def registers(name: str, baud: int | None = None) -> CompiledDevice:
    spec = device("d", name)
    if baud is not None:
        spec = device("d", name, transport="modbus_rtu", options={"baud": str(baud)})
    return compile_device(language.load(name), spec, COUNTS)


MODBUS = [n for n in language.shipped() if language.load(n).link.protocol == "modbus"]


@pytest.mark.parametrize("name", MODBUS)
def test_every_register_of_a_shipped_profile_is_asked_for_once_per_class(name):
    found = registers(name)
    for block in found.blocks:
        assert len(list(block.addresses())) == len(set(block.addresses()))
        assert all(count <= found.link.max_read_registers for _, count in block.requests)
    names = [name for block in found.blocks for name in block.names]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", MODBUS)
def test_reading_together_needs_far_fewer_requests_than_point_by_point(name):
    found = registers(name)
    requests = sum(len(block.requests) for block in found.blocks)
    values = sum(block.units for block in found.blocks)
    assert requests <= values
    if COUNTS["reported_cells"] <= values:
        assert 10 * requests <= values


def test_a_long_array_is_read_in_parts_that_cut_no_element():
    block = next(b for b in registers("bms_rack_0x2000").blocks if "cell_voltage_v" in b.names)
    assert block.requests == ((0x2800, 120), (0x2878, 120))
    payload = b"".join((3000 + k).to_bytes(2, "big") for k in range(240))
    values, _ = block.decode(payload).arrays["cell_voltage_v"]
    assert values[0] == 3.0
    assert values[239] == 3.239


def test_a_pinned_block_is_read_in_parts_that_cut_no_element():
    good = language.load("meter_acrel_adw300")
    profile = good.model_copy(
        update={
            "link": good.link.model_copy(update={"max_read_registers": 17}),
            "blocks": {"all": BlockSpec(start=20, count=46, poll="fast")},
        }
    )
    (block,) = compile_device(profile, device("m", "own")).blocks
    # 20 to 36 would hold only the first half of the power at 36.
    assert block.requests == ((20, 16), (36, 17), (53, 13))
    assert sum(count for _, count in block.requests) == 46


@pytest.mark.parametrize(
    ("baud", "asked_s", "lives_s"),
    [
        pytest.param(115_200, 1.0, 3.0, id="fast line: as the profile says"),
        pytest.param(19_200, 1.9, 5.7, id="slow line: more seldom, and it lives longer"),
        pytest.param(9_600, 3.8, 11.4, id="slower line"),
    ],
)
def test_a_cell_array_is_asked_as_often_as_the_line_allows(baud, asked_s, lives_s):
    found = registers("bms_rack_0x2000", baud)
    cells = next(block for block in found.blocks if "cell_voltage_v" in block.names)
    assert (cells.period_s, cells.ttl_s) == pytest.approx((asked_s, lives_s))
    fast = next(block for block in found.blocks if "current_a" in block.names)
    assert fast.period_s == 0.5, "control values keep their period"
