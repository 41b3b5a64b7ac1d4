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
    """What was written last, or ``None`` when there is nothing usable.

    A damaged file is kept beside under ``.bad`` and reported: the controller then
    starts unarmed, which is the safe side.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        log.error("state file %s is unreadable (%s); starting without it", path, error)
        try:
            path.replace(path.with_suffix(".bad"))
        except OSError as rename_error:
            log.error("and could not be set aside: %s", rename_error)
        return None
    return data if isinstance(data, dict) else None
