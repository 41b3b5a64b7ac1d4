"""Laws of the gate, tried on random snapshots."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ems.model import Contactor, ConverterState, GateDecision, Link, SiteSnapshot
from ems.site import SiteKind
from tests.safety import bench as b

PACKS = 3

packs = st.integers(0, PACKS - 1)


def at_least_alarm(index: int, level: int) -> b.Modify:
    """The BMS's alarm raised to a level, never lowered."""

    def modify(snapshot: SiteSnapshot) -> SiteSnapshot:
        now = snapshot.packs[index].alarm_level.value or 0.0
        return b.pack(index, alarm_level=max(now, float(level)))(snapshot)

    return modify


READINGS = ["voltage_v", "current_a", "charge_limit_a", "discharge_limit_a", "contactor"]
"""Without the BMS's SoC nothing is compared (C22): losing that one may widen."""
FAULTS = st.one_of(
    st.builds(lambda p: b.pack(p, link=Link.REFUSED), packs),
    st.builds(lambda p, n: at_least_alarm(p, n), packs, st.integers(1, 3)),
    st.builds(lambda p, c: b.lost_cell(p, c), packs, st.integers(0, 15)),
    st.builds(lambda p, n: b.lost_temps(n, p), packs, st.integers(2, 4)),
    st.builds(
        lambda p, name: b.pack(p, **{name: b.MISSING}),
        packs,
        st.sampled_from(READINGS),
    ),
    st.builds(lambda p: b.pack(p, contactor=Contactor.OPEN), packs),
    st.builds(lambda p: b.converter(p, link=Link.REFUSED), packs),
    st.builds(lambda p: b.converter(p, state=ConverterState.FAULT), packs),
    st.just(b.grid(frequency_hz=49.0)),
    st.just(b.grid(voltage_v=b.MISSING)),
    st.just(lambda s: replace(s, lateness_s=5.0)),
)  # fmt: skip
"""Each takes something away or breaks it; none makes a value better."""

WORLDS = st.fixed_dictionaries(
    {
        "cell_v": st.floats(2.4, 3.8),
        "cell_temp_c": st.floats(-30.0, 65.0),
        "current_a": st.floats(-150.0, 150.0),
        "soc_frac": st.floats(0.0, 1.0),
        "grid_v": st.sampled_from([0.0, 150.0, 230.0, 260.0]),
    }
)
POWER = st.lists(st.floats(-1e5, 1e5), min_size=PACKS, max_size=PACKS)


def run(
    kind: SiteKind, world: dict[str, object], modify: b.Modify, power_w: list[float]
) -> list[GateDecision]:
    bench = b.running(kind, n_packs=PACKS)
    bench.snapshot_options = world
    power = power_w if kind is SiteKind.OWN_CONVERTERS else power_w[:1]
    return [bench.step(modify, power_w=power) for _ in range(4)]


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(list(SiteKind)),
    world=WORLDS,
    faults=st.lists(FAULTS, max_size=3),
    power_w=POWER,
)
def test_interval_contains_zero_and_the_power(
    kind: SiteKind, world: dict[str, object], faults: list[b.Modify], power_w: list[float]
) -> None:
    if kind is not SiteKind.OWN_CONVERTERS:
        faults = []
    for decision in run(kind, world, b.both(*faults), power_w):
        assert (decision.low_w <= 0).all()
        assert (decision.high_w >= 0).all()
        assert (decision.low_w <= decision.power_w).all()
        assert (decision.power_w <= decision.high_w).all()
        assert (decision.pack_low_w <= 0).all()
        assert (decision.pack_high_w >= 0).all()
        wanted = np.array(power_w[: len(decision.power_w)])
        assert (np.abs(decision.power_w) <= np.abs(wanted) + 1e-9).all(), "never more than asked"
        assert (decision.power_w * wanted >= 0).all(), "never the other way"


@settings(max_examples=100, deadline=None)
@given(world=WORLDS, faults=st.lists(FAULTS, max_size=2), extra=FAULTS, power_w=POWER)
def test_adding_a_fault_never_widens(
    world: dict[str, object], faults: list[b.Modify], extra: b.Modify, power_w: list[float]
) -> None:
    kind = SiteKind.OWN_CONVERTERS
    if world["grid_v"] != 230.0:
        # An outage relaxes the SoC floor by design, and a lost meter hides it.
        world = world | {"grid_v": 230.0}
    before = run(kind, world, b.both(*faults), power_w)
    after = run(kind, world, b.both(*faults, extra), power_w)
    for old, new in zip(before, after, strict=True):
        assert (new.pack_low_w >= old.pack_low_w - 1e-9).all()
        assert (new.pack_high_w <= old.pack_high_w + 1e-9).all()
        assert (new.low_w >= old.low_w - 1e-9).all()
        assert (new.high_w <= old.high_w + 1e-9).all()


@settings(max_examples=20, deadline=None)
@given(world=WORLDS, power_w=POWER)
def test_same_inputs_same_decision(world: dict[str, object], power_w: list[float]) -> None:
    def same(snapshot: SiteSnapshot) -> SiteSnapshot:
        return snapshot

    first, second = (run(SiteKind.OWN_CONVERTERS, world, same, power_w) for _ in range(2))
    for a, c in zip(first, second, strict=True):
        assert a.power_w.tobytes() == c.power_w.tobytes()
        assert a.causes == c.causes
