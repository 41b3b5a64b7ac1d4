"""The durable queue: numbering, order, bounds, and what a crash leaves behind."""

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep

import pytest

from ems.clock import SystemClock
from ems.telemetry.messages import Kind, Message
from ems.telemetry.outbox import Outbox
from ems.telemetry.store import ROW_OVERHEAD_B, Row

TS_MS = 1_767_225_600_000


def message(
    n: int,
    subject: str = "site",
    kind: Kind = Kind.TELEMETRY,
    boot: str = "boot1",
    padding: int = 0,
) -> Message:
    topic = f"ems/s/{subject}/{kind.name.lower()}"
    values = {"n": n, "pad": "x" * padding}
    return Message(topic, subject, kind, boot, TS_MS + n, n * 10**9, True, "good", values)


def wait_for(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    """Wait for another thread; fails when it does not get there."""
    until_s = monotonic() + timeout_s
    while not condition():
        assert monotonic() < until_s, "timed out"
        sleep(0.005)


def settled(outbox: Outbox) -> None:
    """Return once everything offered is committed: a question is answered after that."""
    outbox.take(0)


def numbers(rows: list[Row]) -> list[int]:
    return [json.loads(row.payload)["values"]["n"] for row in rows]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "outbox.sqlite"


@pytest.fixture
def outbox(path: Path) -> Iterator[Outbox]:
    box = Outbox(path, SystemClock())
    yield box
    box.close()


def test_numbers_are_contiguous_per_stream_and_boot(outbox: Outbox) -> None:
    outbox.offer([message(i, subject) for i in range(3) for subject in ("site", "p1")])
    outbox.offer([message(9, "site", boot="boot2")])
    settled(outbox)
    rows = [json.loads(row.payload) for row in outbox.take(20)]
    seqs = {
        key: [r["seq"] for r in rows if (r["stream"], r["boot"]) == key]
        for key in {(r["stream"], r["boot"]) for r in rows}
    }
    assert seqs == {
        ("site/telemetry", "boot1"): [0, 1, 2],
        ("p1/telemetry", "boot1"): [0, 1, 2],
        ("site/telemetry", "boot2"): [0],
    }


def test_interlocks_leave_before_events_and_events_before_samples(outbox: Outbox) -> None:
    outbox.offer([message(i) for i in range(3)])
    outbox.offer([message(10, kind=Kind.EVENT), message(20, "p1", Kind.INTERLOCK)])
    settled(outbox)
    assert numbers(outbox.take(20)) == [20, 10, 0, 1, 2]


def test_an_event_overtakes_samples_already_waiting_on_disk(outbox: Outbox) -> None:
    outbox.offer([message(i) for i in range(4)])
    settled(outbox)
    first = outbox.take(2)
    outbox.offer([message(10, kind=Kind.EVENT)])
    wait_for(lambda: outbox.stats().rows == 5)
    for row in first:
        outbox.acknowledge(row.id)
    assert numbers(outbox.take(2)) == [10, 2]


def test_never_more_rows_out_than_the_limit(outbox: Outbox) -> None:
    outbox.offer([message(i) for i in range(10)])
    settled(outbox)
    assert len(outbox.take(4)) == 4
    assert outbox.take(4) == []
    assert outbox.stats().held == 4


def test_acknowledged_rows_are_gone_and_others_come_again_in_order(outbox: Outbox) -> None:
    outbox.offer([message(i) for i in range(6)])
    settled(outbox)
    rows = outbox.take(4)
    outbox.acknowledge(rows[1].id)
    outbox.give_back()
    assert numbers(outbox.take(20)) == [0, 2, 3, 4, 5]
    assert outbox.stats().delivered == 1


def test_events_are_durable_at_once_and_samples_soon(path: Path, outbox: Outbox) -> None:
    outbox.offer([message(0, kind=Kind.INTERLOCK)])
    wait_for(lambda: outbox.stats().rows == 1, timeout_s=0.9)
    outbox.offer([message(1)])
    wait_for(lambda: outbox.stats().rows == 2, timeout_s=5.0)


def test_closing_commits_what_is_queued_and_numbering_goes_on(path: Path) -> None:
    first = Outbox(path, SystemClock())
    first.offer([message(0), message(1)])
    first.close()
    second = Outbox(path, SystemClock())
    second.offer([message(2)])
    settled(second)
    rows = second.take(20)
    second.close()
    assert [row.seq for row in rows] == [0, 1, 2]


def test_a_closed_outbox_says_so(path: Path) -> None:
    box = Outbox(path, SystemClock())
    box.close()
    with pytest.raises(RuntimeError, match="closed"):
        box.take(1)


def test_a_second_process_is_kept_out(path: Path, outbox: Outbox) -> None:
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        Outbox(path, SystemClock())


def test_a_newer_format_is_refused_not_overwritten(path: Path) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(sqlite3.OperationalError, match="newer version"):
        Outbox(path, SystemClock())


def test_a_damaged_file_is_moved_aside_and_service_goes_on(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"not a database" * 1000)
    box = Outbox(path, SystemClock())
    box.offer([message(0)])
    settled(box)
    assert numbers(box.take(1)) == [0]
    box.close()
    assert path.with_name("outbox.sqlite.damaged").read_bytes().startswith(b"not a database")


def test_an_unwritable_place_is_an_error_at_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        Outbox(tmp_path / "file" / "outbox.sqlite", SystemClock())


def test_quarantined_rows_are_kept_with_the_reason_and_can_come_back(outbox: Outbox) -> None:
    outbox.offer([message(i) for i in range(3)])
    settled(outbox)
    rows = outbox.take(2)
    outbox.quarantine(rows[0].id, "Not authorized")
    outbox.acknowledge(rows[1].id)
    assert numbers(outbox.take(20)) == [2]
    assert outbox.stats().quarantined == 1
    assert outbox.release() == 1
    outbox.give_back()
    assert numbers(outbox.take(20)) == [0, 2]
    assert outbox.stats().quarantined == 0


def test_the_reason_is_readable_with_sqlite(path: Path) -> None:
    box = Outbox(path, SystemClock())
    box.offer([message(7)])
    settled(box)
    box.quarantine(box.take(1)[0].id, "Not authorized")
    box.close()
    with sqlite3.connect(path) as db:
        (row,) = db.execute("SELECT topic, reason, payload FROM quarantine").fetchall()
    db.close()
    assert row[:2] == ("ems/s/site/telemetry", "Not authorized")
    assert json.loads(row[2])["values"]["n"] == 7


def test_a_message_that_is_no_json_is_counted_and_stops_nothing(outbox: Outbox) -> None:
    bad = Message("t", "site", Kind.EVENT, "b", TS_MS, 0, True, "good", {"x": float("nan")})
    outbox.offer([bad, message(1, kind=Kind.EVENT, boot="b")])
    settled(outbox)
    (row,) = outbox.take(20)
    assert row.seq == 0
    assert outbox.stats().unusable == 1


def test_memory_is_bounded_oldest_samples_go_first_and_a_gap_says_so(path: Path) -> None:
    box = Outbox(path, SystemClock(), max_queued=5)
    # One call: the writer cannot run in between, as behind a disk that hangs.
    box.offer([*(message(i) for i in range(8)), message(50, kind=Kind.EVENT)])
    settled(box)
    rows = [json.loads(row.payload) for row in box.take(20)]
    box.close()
    assert box.stats().dropped == 3
    assert rows[0]["values"]["n"] == 50
    assert rows[1]["values"]["gap"] == {
        "boot": "boot1",
        "dropped": 3,
        "first_seq": None,
        "last_seq": None,
        "from_ts": TS_MS,
        "to_ts": TS_MS + 2,
    }
    assert [row["values"]["n"] for row in rows[2:]] == [3, 4, 5, 6, 7]
    assert [row["seq"] for row in rows[1:]] == [0, 1, 2, 3, 4, 5]


def test_events_are_never_dropped_from_memory(path: Path) -> None:
    box = Outbox(path, SystemClock(), max_queued=2)
    box.offer([message(i, kind=Kind.EVENT) for i in range(100)])
    settled(box)
    assert (box.stats().rows, box.stats().dropped) == (100, 0)
    box.close()


def explained(records: list[dict[str, object]], stream: str, boot: str) -> set[int]:
    """Sequence numbers of a stream that are present or named by a gap record."""
    seqs: set[int] = set()
    for record in records:
        values = record["values"]
        if (record["stream"], record["boot"]) == (stream, boot):
            seqs.add(record["seq"])  # type: ignore[arg-type]
        gap = values.get("gap") if isinstance(values, dict) else None
        if record["stream"] == stream and gap and gap["boot"] == boot:
            seqs |= set(range(gap["first_seq"], gap["last_seq"] + 1))
    return seqs


def test_disk_is_bounded_and_every_missing_number_is_named_by_a_gap(path: Path) -> None:
    bound_b = 200_000
    box = Outbox(path, SystemClock(), max_bytes=bound_b)
    box.offer([message(0, kind=Kind.EVENT), message(0, "p1", Kind.INTERLOCK)])
    for start in range(0, 2_000, 10):
        box.offer([message(i, s, padding=400) for i in range(start, start + 10) for s in "ab"])
        settled(box)
    rows = box.take(10_000)
    stats = box.stats()
    box.close()
    records = [json.loads(row.payload) for row in rows]
    assert stats.size_b <= bound_b
    assert path.stat().st_size <= 1.3 * bound_b
    assert stats.dropped + stats.rows == 4_002 + sum("gap" in r["values"] for r in records)
    assert {r["stream"] for r in records[:2]} == {"p1/interlock", "site/event"}
    for stream in ("a/telemetry", "b/telemetry"):
        newest = [r for r in records if r["stream"] == stream and "n" in r["values"]][-1]
        assert newest["values"]["n"] == 1_999
        assert explained(records, stream, "boot1") >= set(range(newest["seq"] + 1))


def test_rows_on_the_wire_survive_pruning(path: Path) -> None:
    box = Outbox(path, SystemClock(), max_bytes=20 * (600 + ROW_OVERHEAD_B))
    box.offer([message(i, padding=400) for i in range(10)])
    settled(box)
    first = box.take(3)
    for start in range(10, 400, 10):
        box.offer([message(i, padding=400) for i in range(start, start + 10)])
        settled(box)
    for row in first:
        box.acknowledge(row.id)
    box.take(0)
    assert box.stats().delivered == 3
    box.close()


def test_a_hanging_disk_holds_up_nobody_and_is_caught_up(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ems.telemetry import outbox as module
    from ems.telemetry.store import Store

    monkeypatch.setattr(module, "RETRY_S", 0.02)
    healthy = threading.Event()
    append = Store.append

    def failing(self: Store, messages: list[Message]) -> int:
        if not healthy.is_set():
            raise sqlite3.OperationalError("database or disk is full")
        return append(self, messages)

    monkeypatch.setattr(Store, "append", failing)
    box = Outbox(path, SystemClock())
    box.offer([message(0, kind=Kind.EVENT)])
    wait_for(lambda: box.stats().write_errors >= 2)
    assert box.stats().error == "database or disk is full"
    box.offer([message(1, kind=Kind.EVENT)])
    healthy.set()
    wait_for(lambda: box.stats().rows == 2)
    assert [row.seq for row in box.take(20)] == [0, 1]
    assert box.stats().error == ""
    box.close()


def test_the_age_counts_from_the_oldest_record(outbox: Outbox) -> None:
    assert outbox.oldest_age_s() == 0.0
    outbox.offer([message(0), message(5)])
    settled(outbox)
    now_s = SystemClock().now_utc().timestamp()
    assert outbox.oldest_age_s() == pytest.approx(max(0.0, now_s - TS_MS / 1e3), abs=5.0)


def test_the_file_is_written_with_full_synchronisation(path: Path) -> None:
    from ems.telemetry.store import Store

    store = Store(path, 10**6)
    mode = store._db.execute("PRAGMA journal_mode").fetchone()[0]
    synchronous = store._db.execute("PRAGMA synchronous").fetchone()[0]
    store.close()
    assert (mode, synchronous) == ("wal", 2)
