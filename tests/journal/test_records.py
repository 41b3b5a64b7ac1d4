"""What of a cycle is written down, and what is not."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from ems.journal.evidence import summary
from ems.journal.records import entries
from ems.model import (
    MISSING,
    ActiveCause,
    BackupEstimate,
    CommandResult,
    ContactorDemand,
    ConverterState,
    CycleRecord,
    GateDecision,
    Limits,
    Link,
    Mode,
    OperatorRequest,
    Quality,
    Reading,
    RequestKind,
    SetContactor,
    SetpointRequest,
    SetPower,
    SiteEstimate,
    Source,
)
from tests.builders import NOON_UTC, make_site, make_snapshot

SITE = make_site(n_packs=2)
TWO = np.ones(2)


def record(
    now_s: float = 100.0, mode: Mode = Mode.RUN, causes: tuple[ActiveCause, ...] = ()
) -> CycleRecord:
    """A quiet cycle of a two-pack site."""
    known = np.ones(2, np.bool_)
    index = np.zeros(2, np.int64)
    return CycleRecord(
        seq=int(now_s),
        snapshot=make_snapshot(SITE, now_s, now_utc=NOON_UTC + timedelta(seconds=now_s)),
        estimate=SiteEstimate(TWO, TWO, known, index, index, *(TWO for _ in range(12))),
        limits=Limits(*(TWO for _ in range(7)), ("current",) * 2, ("current",) * 2),
        backup=BackupEstimate(TWO, TWO, 1.0, 1.0, 1.0, 1.0, 1.0),
        request=SetpointRequest(TWO, (True,) * 3, Source.PLAN, "", 0.0, 0.0, 1, 0.0),
        decision=GateDecision(
            mode,
            -TWO,
            TWO,
            TWO,
            (ContactorDemand.CLOSE,) * 2,
            (True,) * 3,
            -TWO,
            TWO,
            ("", ""),
            causes,
        ),
        commands=(),
    )


def cause(level: int = 3, **changes: object) -> ActiveCause:
    text = "p1 cell 7: highest cell voltage 3.612 V ≥ 3.600 V, 2 samples"
    made = ActiveCause("C01", "cell_voltage_high", level, 0, text, 100.0, True, False)
    return replace(made, **changes)  # type: ignore[arg-type]


def kinds(previous: CycleRecord | None, now: CycleRecord) -> list[tuple[str, bool]]:
    return [(kind, urgent) for kind, _, urgent in entries(previous, now, SITE)]


def changed(now: CycleRecord, **decision: object) -> CycleRecord:
    return replace(now, decision=replace(now.decision, **decision))  # type: ignore[arg-type]


def test_quiet_cycle_writes_nothing() -> None:
    assert kinds(record(100.0), record(101.0)) == []


def test_first_cycle_of_a_run() -> None:
    assert kinds(None, record()) == [("START", True), ("MODE", True)]


def test_mode_change() -> None:
    ((kind, data, urgent),) = entries(record(), record(101.0, Mode.BACKUP), SITE)
    assert (kind, urgent) == ("MODE", True)
    assert (data["from"], data["to"]) == ("run", "backup")


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        pytest.param(
            (), (cause(1),), [("CAUSE_RAISED", False)], id="a warning can wait for the disk"
        ),
        pytest.param((), (cause(3),), [("CAUSE_RAISED", True)], id="a stop cannot"),
        pytest.param((cause(2),), (cause(4),), [("CAUSE_LEVEL", True)], id="rises"),
        pytest.param((cause(4),), (cause(2),), [("CAUSE_LEVEL", True)], id="falls"),
        pytest.param(
            (cause(3),), (cause(3, latched=True),), [("CAUSE_LATCHED", True)], id="latched"
        ),
        pytest.param((cause(3),), (), [("CAUSE_CLEARED", True)], id="cleared"),
        pytest.param((cause(3),), (cause(3, acknowledged=True),), [], id="ack has its own entry"),
        pytest.param(
            (cause(3),), (cause(3), cause(3, pack=1)), [("CAUSE_RAISED", True)], id="other pack"
        ),
    ],
)
def test_causes(
    before: tuple[ActiveCause, ...],
    after: tuple[ActiveCause, ...],
    expected: list[tuple[str, bool]],
) -> None:
    assert kinds(record(causes=before), record(101.0, causes=after)) == expected


def test_two_converters_at_fault_are_two_causes() -> None:
    first = cause(3, cause="C35", pack=None, detail="pcs1: silent")
    second = cause(3, cause="C35", pack=None, detail="pcs2: silent")
    assert len(kinds(record(causes=(first,)), record(101.0, causes=(first, second)))) == 1


def test_cause_carries_what_is_needed_to_judge_it() -> None:
    now = record(101.0, causes=(cause(),))
    quality = now.snapshot.cells.voltage_quality.copy()
    quality[3] = Quality.BAD
    cells = replace(now.snapshot.cells, voltage_quality=quality)
    now = replace(now, snapshot=replace(now.snapshot, cells=cells))
    ((_, data, _),) = entries(record(), now, SITE)
    assert "cell 7" in data["text"]
    (pack,) = data["packs"]
    assert pack["pack"] == "p1"
    assert pack["h"] == 1.0
    assert pack["cell_v"] == {"min": [3.3, 1, 101.0], "max": [3.3, 1, 101.0], "unknown": 1}
    assert pack["current_a"] == [0.0, 101.0, 0]
    assert data["decision"]["power_w"] == [1.0, 1.0]
    assert data["first_out"] is True


def test_contactor_and_load() -> None:
    now = changed(
        record(101.0),
        contactor=(ContactorDemand.CLOSE, ContactorDemand.OPEN),
        load_on=(True, False, True),
    )
    found = entries(record(), now, SITE)
    assert [(k, d["text"]) for k, d, _ in found] == [
        ("CONTACTOR", "p2 CLOSE -> OPEN"),
        ("LOAD", "comfort off"),
    ]


@pytest.mark.parametrize(
    ("refusals", "kind"), [((), "REQUEST_GRANTED"), ((("7", "no"),), "REQUEST_REFUSED")]
)
def test_requests_are_written_either_way(refusals: tuple[tuple[str, str], ...], kind: str) -> None:
    asked = OperatorRequest("7", RequestKind.RESET, "li", "cell replaced", "C01")
    now = changed(record(101.0), refusals=refusals)
    now = replace(now, snapshot=replace(now.snapshot, requests=(asked,)))
    ((found, data, urgent),) = entries(record(), now, SITE)
    assert (found, urgent) == (kind, True)
    assert (data["actor"], data["reason"], data["target"]) == ("li", "cell replaced", "C01")


def with_results(now: CycleRecord, *results: CommandResult) -> CycleRecord:
    return replace(now, snapshot=replace(now.snapshot, results=results))


def test_failed_command_is_written_once_until_it_works_again() -> None:
    failed = CommandResult(SetPower(1, 500.0), False, "timeout", 100.0)
    open_failed = CommandResult(SetContactor(0, False), False, "refused", 100.0)
    worked = CommandResult(SetPower(0, 500.0), True, "", 100.0)
    first = with_results(record(101.0), failed, worked)
    again = with_results(record(102.0), replace(failed, command=SetPower(1, 400.0)), open_failed)
    assert kinds(record(), first) == [("COMMAND_REFUSED", False)]
    ((_, data, _),) = entries(first, again, SITE)
    assert data["text"] == "contactor p1: refused"


def reporting(now: CycleRecord, **converter: object) -> CycleRecord:
    """The same cycle with other readings of converter 1."""
    first, second = now.snapshot.converters
    readings = (first, replace(second, **converter))  # type: ignore[arg-type]
    return replace(now, snapshot=replace(now.snapshot, converters=readings))


IGNORED = CommandResult(
    SetPower(1, 500.0), False, "setpoint_w reads back 0 where 500 was written", 100.0
)


@pytest.mark.parametrize(
    ("state", "setpoint_w", "link", "written"),
    [
        pytest.param(ConverterState.RUN, 0.0, Link.UP, True, id="it should follow"),
        pytest.param(ConverterState.ISLAND, 0.0, Link.UP, False, id="it forms the grid"),
        pytest.param(ConverterState.ISLAND, 0.0, Link.SILENT, True, id="it does not answer"),
        pytest.param(ConverterState.ISLAND, None, Link.UP, True, id="it says no set-point"),
        pytest.param(None, 0.0, Link.UP, True, id="it says no state"),
    ],
)
def test_a_converter_that_forms_the_grid_takes_no_set_point(
    state: ConverterState | None, setpoint_w: float | None, link: Link, written: bool
) -> None:
    def known(value: float | None) -> Reading:
        return MISSING if value is None else Reading(float(value), 101.0)

    now = reporting(
        with_results(record(101.0, Mode.BACKUP), IGNORED),
        state=known(state),
        setpoint_w=known(setpoint_w),
        link=link,
    )
    before = record(mode=Mode.BACKUP)
    assert kinds(before, now) == ([("COMMAND_REFUSED", False)] if written else [])
    assert summary(now)["failed_commands"] == written


def test_a_contactor_that_fails_is_written_whatever_the_converter_does() -> None:
    failed = CommandResult(SetContactor(1, False), False, "refused", 100.0)
    now = reporting(
        with_results(record(101.0, Mode.BACKUP), failed),
        state=Reading(float(ConverterState.ISLAND), 101.0),
    )
    assert kinds(record(mode=Mode.BACKUP), now) == [("COMMAND_REFUSED", False)]


def test_the_same_complaint_with_other_numbers_is_written_once() -> None:
    other = replace(IGNORED, reason="setpoint_w reads back -1.5e-05 where 612.5 was written")
    assert kinds(with_results(record(), IGNORED), with_results(record(101.0), other)) == []
    twice = with_results(record(101.0), IGNORED, other)
    assert kinds(record(), twice) == [("COMMAND_REFUSED", False)]


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        pytest.param((), (cause(3),), "level 3, first: p1", id="raised"),
        pytest.param(
            (cause(3),),
            (cause(3, latched=True),),
            "level 3, first, condition gone, still latched: p1",
            id="condition gone",
        ),
        pytest.param(
            (cause(4, first_out=False),),
            (cause(3, first_out=False, latched=True),),
            "level 3, condition gone, still latched: p1",
            id="level and condition in one cycle",
        ),
        pytest.param((cause(2),), (), "cleared, was level 2: p1", id="cleared by itself"),
        pytest.param(
            (cause(3, latched=True),),
            (),
            "cleared after ack or reset, was level 3: p1",
            id="cleared by an operator",
        ),
    ],
)
def test_gone_is_not_called_cleared_while_the_latch_stands(
    before: tuple[ActiveCause, ...], after: tuple[ActiveCause, ...], words: str
) -> None:
    ((_, data, _),) = entries(record(causes=before), record(101.0, causes=after), SITE)
    assert data["text"].startswith(f"C01 cell_voltage_high {words} cell 7: ")


@pytest.mark.parametrize(
    ("step_s", "count"), [(0.0, 0), (2.0, 0), (2.1, 1), (-2.1, 1), (3600.0, 1)]
)
def test_clock_step(step_s: float, count: int) -> None:
    now = record(101.0)
    utc = now.snapshot.now_utc + timedelta(seconds=step_s)
    now = replace(now, snapshot=replace(now.snapshot, now_utc=utc))
    found = [data for kind, data, _ in entries(record(), now, SITE) if kind == "CLOCK_STEP"]
    assert len(found) == count
    if found:
        assert found[0]["step_s"] == pytest.approx(step_s)


def test_summary_once_a_minute() -> None:
    found = [kinds(record(t), record(t + 1.0)) for t in np.arange(100.0, 240.0)]
    assert sum(("SUMMARY", False) in f for f in found) == 3  # 120, 180, 240 s
