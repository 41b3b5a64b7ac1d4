"""State that must survive a restart, replaced atomically on disk."""

import json
import logging
import os
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)


def write(path: Path, data: dict[str, Any]) -> None:
    """Replace the file durably: a crash leaves either the old or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(data, file, allow_nan=False)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def read(path: Path) -> dict[str, Any] | None:
    """What was written last, or ``None`` when nothing ever was.

    Raises:
        OSError, ValueError: there is a file, but it cannot be read or is damaged.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    if not isinstance(data, dict):
        raise ValueError(f"{path} holds no JSON object")
    return data


def set_aside(path: Path) -> None:
    """Keep a file that is no good beside under ``.bad``, for whoever asks why."""
    try:
        path.replace(path.with_suffix(".bad"))
    except OSError as error:
        log.error("%s could not be set aside: %s", path, error)
