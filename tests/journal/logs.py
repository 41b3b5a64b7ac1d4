"""Small logs for tests."""

from datetime import timedelta
from pathlib import Path

from ems.journal.writer import Journal
from tests.builders import NOON_UTC


def open_log(directory: Path, boot: str = "boot-1", **options: int) -> Journal:
    return Journal(directory, "test-site", "0.1.0", "c" * 64, "t" * 64, boot_id=boot, **options)


def write(directory: Path, count: int, boot: str = "boot-1", **options: int) -> tuple[int, str]:
    """One run that writes a few records; returns the head."""
    with open_log(directory, boot, **options) as journal:
        for i in range(count):
            at = NOON_UTC + timedelta(seconds=i)
            journal.append("MODE", {"n": i, "text": f"第 {i} 条"}, 100.0 + i, at)
        return journal.head


def segment(directory: Path, number: int = 1) -> Path:
    return directory / f"interlock-{number:06d}.jsonl"
