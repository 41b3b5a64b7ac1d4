"""From one segment to the next: nothing lost, nobody waits, whatever the disk refuses."""

import errno
import os
import stat
from pathlib import Path

import pytest

from ems.journal import writer
from ems.journal.verify import verify
from tests.builders import NOON_UTC
from tests.journal.logs import open_log

SMALL_BYTES = 2000
"""Some five records."""


def append(journal: writer.Journal, count: int) -> None:
    for i in range(count):
        journal.append("MODE", {"n": i, "text": "x" * 100}, 1.0, NOON_UTC)


def segments(directory: Path) -> list[Path]:
    return sorted(directory.glob("interlock-*.jsonl"))


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def refusing(code: int):
    """``os.open`` that makes no new segment."""
    real = os.open

    def refuse(path, flags, *rest):
        if flags & os.O_EXCL:
            raise OSError(code, os.strerror(code))
        return real(path, flags, *rest)

    return refuse


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EMFILE], ids=errno.errorcode.get)
def test_without_a_new_segment_the_old_one_goes_on(tmp_path, monkeypatch, caplog, code):
    with open_log(tmp_path, segment_bytes=SMALL_BYTES) as journal:
        with monkeypatch.context() as patched:
            patched.setattr(writer.os, "open", refusing(code))
            append(journal, 20)
        assert len(segments(tmp_path)) == 1
        assert segments(tmp_path)[0].stat().st_size > 2 * SMALL_BYTES
        assert caplog.text.count("the old one goes on") == 1, "said once, not with every record"
        append(journal, 1)
        assert len(segments(tmp_path)) == 2, "as soon as there can be a new one, there is"
    report = verify(tmp_path)
    assert report.ok, str(report)
    assert report.records == 22, "BOOT and every record, none lost"


def test_a_new_segment_that_takes_no_bytes_loses_only_what_it_refused(tmp_path, monkeypatch):
    with open_log(tmp_path, segment_bytes=SMALL_BYTES) as journal:
        while len(segments(tmp_path)) == 1:
            append(journal, 1)
        before = journal.head
        with monkeypatch.context() as patched:
            patched.setattr(
                writer.os, "write", lambda fd, data: refusing(errno.ENOSPC)("", os.O_EXCL)
            )
            with pytest.raises(OSError, match="No space"):
                append(journal, 1)
        assert journal.head == before
        append(journal, 20)
    assert verify(tmp_path).ok


def test_appending_never_waits_for_the_disk(tmp_path, monkeypatch):
    def waits(fd):
        raise AssertionError("the control loop waited for the disk")

    with open_log(tmp_path, segment_bytes=SMALL_BYTES) as journal:
        with monkeypatch.context() as patched:
            patched.setattr(writer.os, "fsync", waits)
            append(journal, 20)
        assert len(segments(tmp_path)) > 2
    assert verify(tmp_path).ok


def test_commit_brings_full_segments_to_the_disk_first_and_closes_them(tmp_path, monkeypatch):
    before = open_descriptors()
    with open_log(tmp_path, segment_bytes=SMALL_BYTES) as journal:
        journal.commit()
        idle = open_descriptors()
        append(journal, 20)
        synced = []
        real = os.fsync

        def noted(fd):
            state = os.fstat(fd)
            synced.append("directory" if stat.S_ISDIR(state.st_mode) else state.st_ino)
            real(fd)

        with monkeypatch.context() as patched:
            patched.setattr(writer.os, "fsync", noted)
            journal.commit()
        inodes = [path.stat().st_ino for path in segments(tmp_path)]
        assert synced == [*inodes[:-1], "directory", inodes[-1]], "in the order of the chain"
        assert open_descriptors() == idle
    assert open_descriptors() == before


def test_a_disk_that_fails_on_one_full_segment_keeps_the_others_for_the_next_commit(
    tmp_path, monkeypatch
):
    with open_log(tmp_path, segment_bytes=SMALL_BYTES) as journal:
        idle = open_descriptors()
        append(journal, 20)
        with monkeypatch.context() as patched:
            patched.setattr(writer.os, "fsync", lambda fd: refusing(errno.EIO)("", os.O_EXCL))
            with pytest.raises(OSError, match="Input/output"):
                journal.commit()
        assert open_descriptors() > idle
        journal.commit()
        assert open_descriptors() == idle
    assert verify(tmp_path).ok
