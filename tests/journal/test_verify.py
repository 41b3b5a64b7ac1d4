"""The verifier against a forger: every random change to a log is found."""

import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from ems.journal import show
from ems.journal.verify import verify
from tests.journal.logs import segment, write

Forge = Callable[[list[bytes], random.Random], list[bytes]]
SEEDS = range(300)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, tuple[int, str]]:
    """A log of three boots, its bytes and its head as noted outside the box."""
    directory = tmp_path_factory.mktemp("log")
    for boot in ("boot-1", "boot-2", "boot-3"):
        head = write(directory, 8, boot)
    return segment(directory).read_bytes(), head


def edit_byte(lines: list[bytes], rng: random.Random) -> list[bytes]:
    i = rng.randrange(len(lines))
    line = bytearray(lines[i])
    at = rng.randrange(len(line))
    line[at] = (line[at] + rng.randrange(1, 256)) % 256
    return [*lines[:i], bytes(line), *lines[i + 1 :]]


def edit_value(lines: list[bytes], rng: random.Random) -> list[bytes]:
    """A careful forger: valid canonical JSON, old hash."""
    i = rng.randrange(len(lines))
    record = json.loads(lines[i])
    record[rng.choice(["kind", "utc", "boot_id"])] = "forged"
    text = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return [*lines[:i], text.encode(), *lines[i + 1 :]]


def reseal(lines: list[bytes], rng: random.Random) -> list[bytes]:
    """A better forger: the record's own hash is right again, the next link is not."""
    i = rng.randrange(len(lines))
    record = json.loads(lines[i])
    del record["hash"]
    record["data"] = {"n": "forged"}

    def dump() -> bytes:
        return json.dumps(
            record, sort_keys=True, separators=(",", ":"), ensure_ascii=False
        ).encode()

    record["hash"] = hashlib.sha256(dump()).hexdigest()
    return [*lines[:i], dump(), *lines[i + 1 :]]


def delete(lines: list[bytes], rng: random.Random) -> list[bytes]:
    i = rng.randrange(len(lines))
    return lines[:i] + lines[i + rng.randrange(1, 4) :]


def swap(lines: list[bytes], rng: random.Random) -> list[bytes]:
    i, j = rng.sample(range(len(lines)), 2)
    forged = list(lines)
    forged[i], forged[j] = forged[j], forged[i]
    return forged


def insert(lines: list[bytes], rng: random.Random) -> list[bytes]:
    i = rng.randrange(len(lines) + 1)
    return [*lines[:i], rng.choice(lines), *lines[i:]]


def cut_off(lines: list[bytes], rng: random.Random) -> list[bytes]:
    return lines[: rng.randrange(len(lines))]


def cut_head(lines: list[bytes], rng: random.Random) -> list[bytes]:
    return lines[rng.randrange(1, len(lines)) :]


@pytest.mark.parametrize(
    "forge", [edit_byte, edit_value, reseal, delete, swap, insert, cut_off, cut_head]
)
def test_every_random_change_is_found(
    forge: Forge, log: tuple[bytes, tuple[int, str]], tmp_path: Path
) -> None:
    body, head = log
    lines = body.splitlines()
    for seed in SEEDS:
        forged = forge(lines, random.Random(seed))
        segment(tmp_path).write_bytes(b"".join(line + b"\n" for line in forged))
        if forged == lines:
            continue
        report = verify(tmp_path, expect=head)
        assert not report.ok, f"{forge.__name__} seed {seed} went unnoticed"


def test_whole_log_is_fine(log: tuple[bytes, tuple[int, str]], tmp_path: Path) -> None:
    segment(tmp_path).write_bytes(log[0])
    report = verify(tmp_path, expect=log[1])
    assert report.ok
    assert (report.records, report.first_seq, report.last_seq) == (27, 0, 26)
    assert str(report).startswith("OK")


def test_cut_at_a_record_is_found_only_with_a_head_kept_outside(
    log: tuple[bytes, tuple[int, str]], tmp_path: Path
) -> None:
    """What the log does not promise, and what closes the gap."""
    body, head = log
    segment(tmp_path).write_bytes(b"".join(line + b"\n" for line in body.splitlines()[:20]))
    assert verify(tmp_path).ok
    assert "cut off" in str(verify(tmp_path, expect=head))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(lambda line: b"not json", "is not JSON", id="garbage"),
        pytest.param(lambda line: b"{}", "is not a record", id="another object"),
        pytest.param(lambda line: line.replace(b":", b": ", 1), "canonical", id="one space"),
        pytest.param(lambda line: line.replace(b'"n":3', b'"n":4'), "do not match", id="a number"),
    ],
)
def test_problem_names_file_line_and_byte(
    change: Callable[[bytes], bytes], words: str, log: tuple[bytes, tuple[int, str]], tmp_path: Path
) -> None:
    lines = log[0].splitlines()
    byte = sum(len(line) + 1 for line in lines[:4])
    lines[4] = change(lines[4])
    segment(tmp_path).write_bytes(b"".join(line + b"\n" for line in lines))
    (problem,) = verify(tmp_path).problems
    assert (problem.file, problem.line, problem.byte) == ("interlock-000001.jsonl", 5, byte)
    assert words in problem.what


def test_missing_segment_is_found(tmp_path: Path) -> None:
    write(tmp_path, 40, segment_bytes=2000)
    segment(tmp_path, 2).unlink()
    assert "sequence jumps" in str(verify(tmp_path))


def test_lost_quarantine_is_found(tmp_path: Path) -> None:
    write(tmp_path, 2)
    with segment(tmp_path).open("ab") as file:
        file.write(b'{"half')
    write(tmp_path, 1, "boot-2")
    assert verify(tmp_path).ok
    next(tmp_path.glob("*.bin")).write_bytes(b"changed")
    assert "quarantined tail" in str(verify(tmp_path))


def test_exported_segment_is_checked_on_its_own(tmp_path: Path) -> None:
    write(tmp_path, 40, segment_bytes=2000)
    report = verify(segment(tmp_path, 2))
    assert report.ok
    assert report.first_seq > 0


def test_empty_directory_is_no_log(tmp_path: Path) -> None:
    assert not verify(tmp_path).ok


def test_emptied_log_is_no_log(tmp_path: Path) -> None:
    write(tmp_path, 3)
    segment(tmp_path).write_bytes(b"")
    assert "holds no record" in str(verify(tmp_path))


@pytest.mark.parametrize("line", [b"[" * 200_000, b'{"a":"\\ud800"}', b"{}", b"[]"])
def test_hostile_line_is_a_problem_not_a_crash(tmp_path: Path, line: bytes) -> None:
    write(tmp_path, 2)
    with segment(tmp_path).open("ab") as file:
        file.write(line + b"\n")
    assert not verify(tmp_path).ok
    assert "unreadable" in list(show.lines(tmp_path))[-1]


def test_a_reason_cannot_forge_a_line(tmp_path: Path) -> None:
    assert show._plain("ok\n  27 reset by chief\x1b[2J") == "ok\\x0a  27 reset by chief\\x1b[2J"


def test_lines_for_people(tmp_path: Path) -> None:
    write(tmp_path, 2)
    with segment(tmp_path).open("ab") as file:
        file.write(b"rubbish\n")
    english, chinese = list(show.lines(tmp_path)), list(show.lines(tmp_path, "zh"))
    assert "start of the program" in english[0]
    assert "程序启动" in chinese[0]
    assert "第 1 条" in english[2]
    assert "unreadable" in english[3], "shown, not skipped"
    assert len(list(show.lines(tmp_path, kinds=frozenset({"MODE"})))) == 3
