"""How often memory that wears out may be written: a number of device writes in 24 h."""

import json
import logging
import os
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

DAY_S: Final = 86_400.0


@dataclass(slots=True)
class Budget:
    """Device writes of one device in the last 24 h, by the name of the write."""

    times_s: dict[str, deque[float]] = field(default_factory=dict)

    def spent(self, write: str, now_s: float) -> int:
        """Device writes within the last 24 h."""
        times = self.times_s.setdefault(write, deque())
        while times and now_s - times[0] >= DAY_S:
            times.popleft()
        return len(times)

    def spend(self, write: str, writes: int, now_s: float) -> None:
        """Book device writes."""
        self.times_s.setdefault(write, deque()).extend([now_s] * writes)


def save(path: Path, budgets: Mapping[str, Budget], now_s: float, now_unix_s: float) -> None:
    """Keep what was spent over a restart; losing the file only forgets, so errors are logged."""
    ahead_s = now_unix_s - now_s
    data = {
        device: {
            write: [round(t + ahead_s, 3) for t in times] for write, times in b.times_s.items()
        }
        for device, b in budgets.items()
        if b.times_s
    }
    part = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(data), encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        log.warning("%s: what was written to wearing memory is not kept: %s", path, error)


def load(path: Path, now_s: float, now_unix_s: float) -> dict[str, Budget]:
    """What was spent before a restart.

    A stamp in the future (the clock was set back) counts as just now: the budget
    errs towards fewer writes.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return {
            device: Budget(
                {
                    write: deque(sorted(now_s - max(0.0, now_unix_s - stamp) for stamp in stamps))
                    for write, stamps in writes.items()
                }
            )
            for device, writes in data.items()
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        log.warning("%s: cannot be read, wearing memory starts a new day: %s", path, error)
        return {}
