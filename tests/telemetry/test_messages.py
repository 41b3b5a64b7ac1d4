"""What is told, when, under which topic."""

import json
from dataclasses import replace
from importlib import resources

import jsonschema
import numpy as np
import pytest

from ems.model import MISSING, Contactor, Mode, Quality, Reading
from ems.telemetry.messages import Kind, Message, from_record
from tests.builders import make_site, make_snapshot, with_pack
from tests.telemetry.records import CODES, cause, make_record, uplink_site

SITE = uplink_site(period_s=10.0)
SCHEMA = json.loads(
    resources.files("ems.telemetry").joinpath("schemas/record.schema.json").read_text("utf-8")
)
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def due(before_s: float | None, now_s: float, **kwargs: object) -> list[Message]:
    previous = None if before_s is None else make_record(SITE, before_s)
    return from_record(make_record(SITE, now_s, **kwargs), previous, SITE, "boot1")  # type: ignore[arg-type]


def one(messages: list[Message], stream: str) -> Message:
    (found,) = [message for message in messages if message.stream == stream]
    return found


def envelope(message: Message) -> dict[str, object]:
    """The record as the outbox would write it, through JSON."""
    record = {
        "v": 1,
        "stream": message.stream,
        "boot": message.boot,
        "seq": 0,
        "ts": message.ts_ms,
        "mono_ns": message.mono_ns,
        "clock_ok": message.clock_ok,
        "q": message.q,
        "values": message.values,
    }
    return dict(json.loads(json.dumps(record, allow_nan=False)))


@pytest.mark.parametrize(
    ("before_s", "now_s", "expected"),
    [
        pytest.param(100.0, 101.0, 0, id="within a period: nothing"),
        pytest.param(108.0, 109.999, 0, id="just before the period ends: nothing"),
        pytest.param(109.0, 110.0, 4, id="the period begins: site and three packs"),
        pytest.param(109.4, 110.4, 4, id="a late cycle still samples once"),
        pytest.param(110.4, 111.4, 0, id="and not again"),
        pytest.param(95.0, 125.0, 4, id="skipped periods are not made up"),
        pytest.param(None, 103.0, 5, id="start: samples and the mode at once"),
    ],
)
def test_samples_leave_once_a_period(before_s: float | None, now_s: float, expected: int) -> None:
    assert len(due(before_s, now_s)) == expected


def test_a_site_without_uplink_tells_nothing() -> None:
    site = make_site()
    assert from_record(make_record(site), None, site, "boot1") == []


def test_topics_carry_prefix_site_and_pack_code() -> None:
    topics = [message.topic for message in due(109.0, 110.0)]
    assert topics == [
        "ems/test-site/site/telemetry",
        *(f"ems/test-site/{code}/telemetry" for code in CODES),
    ]


def test_stamps_are_utc_milliseconds_and_monotonic_nanoseconds() -> None:
    message = due(109.0, 110.0)[0]
    assert message.ts_ms == round(make_record(SITE, 110.0).snapshot.now_utc.timestamp() * 1000)
    assert message.mono_ns == 110_000_000_000
    assert message.boot == "boot1"
    assert message.clock_ok


def test_an_untrusted_clock_is_told() -> None:
    snapshot = replace(make_snapshot(SITE, 110.0), clock_ok=False)
    messages = due(109.0, 110.0, snapshot=snapshot)
    assert not any(message.clock_ok for message in messages)


def test_pack_sample() -> None:
    values = one(due(109.0, 110.0), f"{CODES[1]}/telemetry").values
    assert values["pack"] == "p2"
    assert values["soc_frac"] == pytest.approx(0.6)
    assert values["weakest_cell"] == 7
    assert values["cell_voltage_min_v"] == pytest.approx(3.3)
    assert (values["charge_limit_w"], values["charge_reason"]) == (1500.0, "cold")
    assert (values["discharge_limit_w"], values["discharge_reason"]) == (2000.0, "bms_limit")
    assert (values["allowed_charge_w"], values["allowed_discharge_w"]) == (1400.0, 1900.0)
    assert values["contactor"] == "closed"
    assert values["current_a"] == 10.0


def test_site_sample_balances() -> None:
    values = one(due(109.0, 110.0), "site/telemetry").values
    assert values["load_power_w"] == pytest.approx(4000.0)
    parts = [values["grid_power_w"], values["battery_power_w"], values["pv_power_w"]]
    assert sum(part for part in parts if isinstance(part, float)) == pytest.approx(4000.0)
    assert values["backup_low_h"] == 1.75


def test_unknown_soc_is_null_not_a_number() -> None:
    messages = due(109.0, 110.0, soc_known=np.array([True, False, True]))
    assert one(messages, f"{CODES[1]}/telemetry").values["soc_frac"] is None
    assert one(messages, f"{CODES[2]}/telemetry").values["soc_frac"] is not None


@pytest.mark.parametrize(
    ("quality", "told", "q"),
    [
        pytest.param(Quality.GOOD, 52.0, "good", id="good"),
        pytest.param(Quality.UNCERTAIN, 52.0, "uncertain", id="uncertain is still told"),
        pytest.param(Quality.STALE, None, "stale", id="stale is not"),
        pytest.param(Quality.BAD, None, "bad", id="bad is not"),
    ],
)
def test_quality_decides_whether_a_value_is_told(
    quality: Quality, told: float | None, q: str
) -> None:
    snapshot = with_pack(make_snapshot(SITE, 110.0), 0, voltage_v=Reading(52.0, 109.0, quality))
    message = one(due(109.0, 110.0, snapshot=snapshot), f"{CODES[0]}/telemetry")
    assert message.values["voltage_v"] == told
    assert message.q == q


def test_a_cell_of_bad_quality_is_left_out_of_the_extremes() -> None:
    snapshot = make_snapshot(SITE, 110.0)
    snapshot.cells.voltage_v[3] = 0.1
    snapshot.cells.voltage_quality[3] = Quality.BAD
    message = one(due(109.0, 110.0, snapshot=snapshot), f"{CODES[0]}/telemetry")
    assert message.values["cell_voltage_min_v"] == pytest.approx(3.3)
    assert message.q == "bad"


def test_a_missing_flow_leaves_no_half_balance() -> None:
    snapshot = make_snapshot(SITE, 110.0)
    snapshot = replace(snapshot, grid=replace(snapshot.grid, power_w=MISSING))
    values = one(due(109.0, 110.0, snapshot=snapshot), "site/telemetry").values
    assert values["grid_power_w"] is None
    assert values["load_power_w"] is None
    assert values["battery_power_w"] is not None


def test_infinite_and_nan_numbers_become_null() -> None:
    record = make_record(SITE, 110.0)
    record = replace(
        record,
        backup=replace(record.backup, hours=float("inf"), hours_low=float("nan")),
        request=replace(record.request, plan_age_s=float("inf")),
    )
    values = one(from_record(record, make_record(SITE, 109.0), SITE, "b"), "site/telemetry").values
    assert (values["backup_h"], values["backup_low_h"], values["plan_age_s"]) == (None, None, None)


def test_extremes_only_bms_has_no_cell_number() -> None:
    packs = tuple(replace(pack, reported_cells=2) for pack in SITE.packs)
    site = replace(SITE, packs=packs)
    record = make_record(site, 110.0, weakest_cell=np.zeros(3, int))
    message = one(from_record(record, None, site, "b"), f"{CODES[0]}/telemetry")
    assert message.values["weakest_cell"] is None


def test_mode_change_leaves_at_once() -> None:
    (message,) = due(101.0, 102.0, mode=Mode.BACKUP)
    assert message.topic == "ems/test-site/site/event"
    assert message.kind is Kind.EVENT
    assert (message.values["mode_before"], message.values["mode"]) == ("run", "backup")


@pytest.mark.parametrize(
    ("before", "after", "event", "levels"),
    [
        pytest.param((), (cause(),), "raised", (0, 2), id="raised"),
        pytest.param((cause(),), (cause(level=3),), "changed", (2, 3), id="level rises"),
        pytest.param((cause(level=3),), (cause(level=2),), "changed", (3, 2), id="level falls"),
        pytest.param((cause(),), (cause(latched=True),), "changed", (2, 2), id="latches"),
        pytest.param((cause(),), (cause(acknowledged=True),), "changed", (2, 2), id="acknowledged"),
        pytest.param((cause(),), (), "cleared", (2, 0), id="cleared"),
    ],
)
def test_interlock_changes_leave_at_once(
    before: tuple[object, ...], after: tuple[object, ...], event: str, levels: tuple[int, int]
) -> None:
    (message,) = from_record(
        make_record(SITE, 102.0, causes=after),  # type: ignore[arg-type]
        make_record(SITE, 101.0, causes=before),  # type: ignore[arg-type]
        SITE,
        "boot1",
    )
    assert message.topic == f"ems/test-site/{CODES[0]}/interlock"
    assert message.kind is Kind.INTERLOCK
    assert message.values["event"] == event
    assert (message.values["level_before"], message.values["level"]) == levels


def test_a_detail_that_moves_is_no_change() -> None:
    before = make_record(SITE, 101.0, causes=(cause(detail="cell 7 at 2.99 V"),))
    after = make_record(SITE, 102.0, causes=(cause(detail="cell 7 at 2.98 V"),))
    assert from_record(after, before, SITE, "b") == []


def test_causes_are_told_apart_by_pack_and_site() -> None:
    record = make_record(SITE, 102.0, causes=(cause(pack=1), cause("C41", pack=None)))
    messages = from_record(record, make_record(SITE, 101.0), SITE, "b")
    assert [message.stream for message in messages] == [f"{CODES[1]}/interlock", "site/interlock"]


def test_start_tells_the_causes_that_are_already_active() -> None:
    messages = from_record(make_record(SITE, causes=(cause(),)), None, SITE, "b")
    assert messages[0].values["event"] == "raised"
    assert messages[1].values["mode_before"] is None


def test_every_message_fits_the_published_schema() -> None:
    silent = with_pack(
        make_snapshot(SITE, 110.0, contactor=Contactor.OPEN),
        2,
        voltage_v=MISSING,
        current_a=MISSING,
        soc_frac=MISSING,
        contactor=MISSING,
        alarm_level=MISSING,
    )
    records = [
        make_record(SITE, 110.0, causes=(cause(), cause("C41", 1, None)), mode=Mode.BACKUP),
        make_record(SITE, 110.0, snapshot=silent, soc_known=np.zeros(3, bool)),
        make_record(SITE, 110.0),
    ]
    previous = make_record(SITE, 109.0, causes=(cause(level=4, latched=True),))
    messages = [m for r in records for p in (previous, None) for m in from_record(r, p, SITE, "b")]
    assert {message.kind for message in messages} == set(Kind)
    for message in messages:
        VALIDATOR.validate(envelope(message))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        pytest.param(("seq",), -1, id="negative sequence number"),
        pytest.param(("q",), "fine", id="unknown quality"),
        pytest.param(("extra",), 1, id="unknown key in the envelope"),
        pytest.param(("values", "soc_frac"), 1.2, id="SoC above one"),
        pytest.param(("values", "soc_pct"), 60, id="unknown key in the values"),
        pytest.param(("stream",), f"{CODES[0]}/event", id="pack sample on an event stream"),
    ],
)
def test_the_schema_refuses(path: tuple[str, ...], value: object) -> None:
    record = envelope(one(due(109.0, 110.0), f"{CODES[0]}/telemetry"))
    VALIDATOR.validate(record)
    target = record
    for key in path[:-1]:
        target = target[key]  # type: ignore[assignment]
    target[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(record)
