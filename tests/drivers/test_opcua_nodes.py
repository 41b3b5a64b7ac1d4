"""Values of OPC UA nodes: the column and the codecs agree, and nothing strange gets through."""

import math

import pytest
from asyncua import ua
from hypothesis import given
from hypothesis import strategies as st

from ems.drivers.coding.block import Block
from ems.drivers.compiling.compile import compile_device
from ems.drivers.language import read
from ems.drivers.opcua.nodes import NodeDecoder
from ems.model import Quality
from ems.site import DeviceSpec

POINTS = {
    "plain": "type: float64, range: [-100, 100]",
    "scaled": "type: float64, scale: 0.1, offset: -7.5",
    "turned": "type: float32, unit: A, positive: charge, scale: 0.01",
    "open_end": "type: float64",
    "counter": "type: uint32",
    "small": "type: int16, scale: 0.1, range: [-1000, 1000]",
    "flag": "type: bool",
    "marked": "type: int16, sentinels: [-1]",
    "large": "type: int64",
    "mode": "type: int32, enum: {0: open, 2: closed}",
}
WHOLE = {"counter", "small", "flag", "marked", "large", "mode"}
PROFILE = """
schema: 2
kind: meter
vendor: test
device: nodes of every kind
summary: For the decoder.
maturity: simulated
provenance: [{source: this test, licence: Apache-2.0, facts: everything}]
link: {protocol: opcua, namespace_uri: "urn:test", poll_ms: {fast: 500}}
points:
"""
GOOD, DOUBT, WRONG = 0, ua.StatusCodes.UncertainInitialValue, ua.StatusCodes.BadSensorFailure


@pytest.fixture(scope="module")
def block(tmp_path_factory: pytest.TempPathFactory) -> Block:
    path = tmp_path_factory.mktemp("nodes") / "nodes.yaml"
    lines = [f'  {name}: {{node: "s={name}", poll: fast, {text}}}' for name, text in POINTS.items()]
    path.write_text(PROFILE + "\n".join(lines) + "\n")
    spec = DeviceSpec("d", str(path), "opcua", "127.0.0.1", 1, 1, "", {})
    (made,) = compile_device(read(path), spec).blocks
    return made


def answer(content: object, status: int = GOOD) -> ua.DataValue:
    if content is None:
        return ua.DataValue(StatusCode=ua.StatusCode(status))
    kind = ua.VariantType.Double if isinstance(content, float) else ua.VariantType.Int64
    return ua.DataValue(ua.Variant(content, kind), StatusCode=ua.StatusCode(status))


def expected(block: Block, name: str, content: object, status: int) -> tuple[float | None, int]:
    """One point by its own codec, the rules spelled out."""
    if status == WRONG or not isinstance(content, int | float) or not math.isfinite(content):
        return None, Quality.BAD
    if name in WHOLE:
        if content != int(content):
            return None, Quality.BAD
        content = int(content)
    codec = next(codec for codec, _ in block.scalars if codec.name == name)
    value, quality = codec.value(content)
    return value, max(quality, Quality.UNCERTAIN if status == DOUBT else Quality.GOOD)


CONTENTS = st.one_of(
    st.floats(width=64),
    st.floats(-200, 200),
    st.integers(-40_000, 40_000),
    st.integers(0, 3),
    st.booleans(),
    st.none(),
    st.just("12"),
    st.just([1.0, 2.0]),
)


@given(st.data())
def test_every_mixture_of_contents_and_statuses(block, data):
    common = data.draw(st.sampled_from([st.floats(-200, 200), st.integers(0, 150), CONTENTS]))
    contents = [data.draw(common) for _ in POINTS]
    statuses = [data.draw(st.sampled_from([GOOD, GOOD, GOOD, DOUBT, WRONG])) for _ in POINTS]
    if data.draw(st.booleans()):
        statuses = [GOOD] * len(POINTS)
    at = {codec.name: k for codec, k in block.scalars}
    answers = [answer(contents[k], statuses[k]) for k in range(len(POINTS))]
    found = NodeDecoder(block).decode(answers).scalars
    wanted = {n: expected(block, n, contents[k], statuses[k]) for n, k in at.items()}
    assert found == wanted


def test_good_numbers_take_the_column_and_are_the_codecs_own(block):
    decoder = NodeDecoder(block)
    assert len(decoder._names) == 7, "all but the marked, the large and the coded one"
    contents = {"plain": -0.0, "scaled": 3.0, "turned": 0.07, "open_end": 1e300, "counter": 7,
                "small": 3, "flag": True, "marked": 4, "large": 1 << 60, "mode": 2}  # fmt: skip
    answers = [None] * len(POINTS)
    for codec, at in block.scalars:
        answers[at] = answer(contents[codec.name])
    found = decoder.decode(answers).scalars
    assert found == {n: expected(block, n, contents[n], GOOD) for n in contents}
    assert math.copysign(1.0, found["plain"][0]) == 1.0
    assert found["small"] == (0.3, Quality.GOOD), "3 steps of 0.1 are 0.3 and nothing else"


@pytest.mark.parametrize("content", [math.nan, math.inf, -math.inf, 1.7, "closed", None])
def test_a_code_that_is_no_whole_number_is_bad(block, content):
    answers = [answer(1)] * len(POINTS)
    (at,) = [k for codec, k in block.scalars if codec.name == "mode"]
    answers[at] = answer(content)
    found = NodeDecoder(block).decode(answers).scalars
    assert found["mode"] == (None, Quality.BAD)
    assert found["counter"] == (1.0, Quality.GOOD), "its neighbours are not touched"
