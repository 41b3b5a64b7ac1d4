"""Operator requests take effect when the gate has granted them, and only then."""

from dataclasses import replace

from ems.dispatch import track
from ems.model import OperatorRequest, RequestKind
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
