"""Operator requests take effect when the gate has granted them, and only then."""

from dataclasses import replace

from ems.dispatch import track
from ems.model import OperatorRequest, RequestKind, Source
from tests.builders import make_snapshot
from tests.dispatch.worlds import World

HOURS = OperatorRequest("1", RequestKind.NOTICE, "li", "storm", value=2.0, duration_s=3_600.0)
NONSENSE = replace(HOURS, id="2", value=-1.0)


def test_a_refused_notice_leaves_the_one_in_force() -> None:
    world = World()
    world.step(4_000.0, requests=(HOURS,))
    seen = replace(make_snapshot(world.site), requests=(NONSENSE,))
    assert track.accept(world.state, seen, granted=()) == world.state
    assert track.notice_hours(world.state, world.now_s) == 2.0


def test_a_set_point_without_a_duration_ends_the_one_in_force() -> None:
    world = World()
    setpoint = replace(HOURS, kind=RequestKind.SETPOINT, value=1_000.0, duration_s=600.0)
    world.step(4_000.0, requests=(setpoint,))
    assert world.step(4_000.0).source is Source.OPERATOR
    world.step(4_000.0, requests=(replace(setpoint, duration_s=0.0),))
    assert world.step(4_000.0).source is not Source.OPERATOR
