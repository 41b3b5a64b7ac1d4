"""The writer: chain over boots and segments, torn tails, one writer, failing disks."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from ems.journal import writer
from ems.journal.verify import verify
from ems.journal.writer import JournalInUseError
from tests.builders import NOON_UTC
from tests.journal.logs import open_log, segment, write


def records(directory: Path) -> list[dict[str, object]]:
    return [
        json.loads(line)
        for path in sorted(directory.glob("interlock-*.jsonl"))
        for line in path.read_bytes().splitlines()
    ]


def test_first_record_is_the_boot_with_its_hashes(tmp_path: Path) -> None:
    write(tmp_path, 3)
    first, *rest = records(tmp_path)
    assert first["kind"] == "BOOT"
    assert first["seq"] == 0
    assert first["prev"] == "0" * 64
    data = first["data"]
    assert isinstance(data, dict)
    assert data["config_sha256"] == "c" * 64
    assert data["table_sha256"] == "t" * 64
    assert data["software"] == "0.1.0"
    assert [r["seq"] for r in rest] == [1, 2, 3]


def test_append_returns_the_sequence_number_and_is_on_file_before_commit(tmp_path: Path) -> None:
    with open_log(tmp_path) as journal:
        assert journal.append("MODE", {}, 1.0, NOON_UTC) == 1
        # A killed process loses nothing; only a power cut needs the commit.
        assert len(records(tmp_path)) == 2


def test_boots_are_chained(tmp_path: Path) -> None:
    _, before = write(tmp_path, 2, "boot-1")
    write(tmp_path, 2, "boot-2")
    boot = records(tmp_path)[3]
    assert boot["kind"] == "BOOT"
    assert boot["prev"] == before
    assert boot["data"]["previous_hash"] == before  # type: ignore[index]
    assert boot["data"]["previous_boot_id"] == "boot-1"  # type: ignore[index]
    assert boot["data"]["last_alive_mono_ns"] == 101_000_000_000  # type: ignore[index]
    report = verify(tmp_path)
    assert report.ok
    assert report.boots == ("boot-1", "boot-2")


def test_rotation_keeps_the_chain(tmp_path: Path) -> None:
    head = write(tmp_path, 40, segment_bytes=2000)
    assert len(list(tmp_path.glob("interlock-*.jsonl"))) > 3
    report = verify(tmp_path, expect=head)
    assert report.ok
    assert report.records == 41
    assert write(tmp_path, 1, "boot-2", segment_bytes=2000)[0] == 42
    assert verify(tmp_path).ok


def test_torn_tail_at_every_byte_is_put_aside_and_never_called_tamper(tmp_path: Path) -> None:
    write(tmp_path / "whole", 3)
    body = segment(tmp_path / "whole").read_bytes()
    start = body[:-1].rindex(b"\n") + 1
    for cut in range(start + 1, len(body)):
        log = tmp_path / str(cut)
        log.mkdir()
        segment(log).write_bytes(body[:cut])
        assert verify(log).ok
        assert verify(log).torn is not None
        write(log, 1, "boot-2")
        report = verify(log)
        assert report.ok, f"cut at byte {cut}: {report}"
        assert report.torn is None
        recovered = [r for r in records(log) if r["kind"] == "LOG_RECOVERED"]
        assert len(recovered) == 1
        data = recovered[0]["data"]
        assert isinstance(data, dict)
        kept = (log / str(data["kept_as"])).read_bytes()
        assert kept == body[start:cut], "byte for byte"
        assert (data["offset"], data["length"]) == (start, cut - start)
        assert data["sha256"] == hashlib.sha256(kept).hexdigest()


def test_zeros_left_by_a_power_cut_are_torn_not_tamper(tmp_path: Path) -> None:
    write(tmp_path, 2)
    with segment(tmp_path).open("ab") as file:
        file.write(bytes(512))
    write(tmp_path, 1, "boot-2")
    assert verify(tmp_path).ok


def test_clean_cut_loses_nothing_else(tmp_path: Path) -> None:
    write(tmp_path, 3)
    body = segment(tmp_path).read_bytes()
    segment(tmp_path).write_bytes(body[: body[:-1].rindex(b"\n") + 1])
    write(tmp_path, 1, "boot-2")
    assert verify(tmp_path).ok
    assert "LOG_RECOVERED" not in {r["kind"] for r in records(tmp_path)}


def test_malformed_record_is_left_as_found_and_said_in_a_new_segment(tmp_path: Path) -> None:
    write(tmp_path, 4)
    body = segment(tmp_path).read_bytes()
    forged = body.replace(b'"n":2', b'"n":7')
    segment(tmp_path).write_bytes(forged)
    with open_log(tmp_path, "boot-2") as journal:
        assert "line 4" in journal.tampered
        journal.append("MODE", {}, 1.0, NOON_UTC)
    assert segment(tmp_path).read_bytes() == forged, "evidence is not touched"
    new = [json.loads(line) for line in segment(tmp_path, 2).read_bytes().splitlines()]
    assert [r["kind"] for r in new] == ["BOOT", "TAMPER", "MODE"]
    assert new[1]["data"]["sha256"] == hashlib.sha256(forged).hexdigest()
    assert not verify(tmp_path).ok


def test_run_that_wrote_nothing_leaves_no_trace_in_the_chain(tmp_path: Path) -> None:
    write(tmp_path, 1)
    open_log(tmp_path, "boot-2").close()
    write(tmp_path, 1, "boot-3")
    assert verify(tmp_path).boots == ("boot-1", "boot-3")


def test_second_writer_is_refused(tmp_path: Path) -> None:
    with open_log(tmp_path), pytest.raises(JournalInUseError, match="another process"):
        open_log(tmp_path)
    open_log(tmp_path).close()


def test_full_disk_writes_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_log(tmp_path) as journal:
        journal.append("MODE", {"n": 0}, 1.0, NOON_UTC)
        real = os.write

        def full(fd: int, data: bytes) -> int:
            if len(data) > 10:
                return real(fd, data[:10])
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(writer.os, "write", full)
        with pytest.raises(OSError, match="No space"):
            journal.append("MODE", {"n": 1}, 2.0, NOON_UTC)
        monkeypatch.undo()
        journal.append("MODE", {"n": 2}, 3.0, NOON_UTC)
    report = verify(tmp_path)
    assert report.ok
    assert report.records == 3


def test_not_a_number_becomes_null(tmp_path: Path) -> None:
    with open_log(tmp_path) as journal:
        journal.append("MODE", {"v": [float("nan"), {"x": float("inf")}, 1.5]}, 1.0, NOON_UTC)
    assert records(tmp_path)[-1]["data"] == {"v": [None, {"x": None}, 1.5]}


def test_untrusted_clock_is_marked(tmp_path: Path) -> None:
    with open_log(tmp_path) as journal:
        journal.append("MODE", {}, 1.0, NOON_UTC, clock_ok=False)
    assert records(tmp_path)[-1]["utc_q"] == "unsynchronised"
