"""The tasks of goods-in, by name; each is loaded when it is asked for."""

import importlib
from collections.abc import Iterator, Mapping
from typing import Final, cast

from ems.health.goodsin.task import Task

MODULES: Final[Mapping[str, str]] = {
    "charge-features": "charge",
    "cycle-life": "cyclelife",
    "pulse": "pulse",
    "relaxation": "relaxation",
    "second-life-cycles": "cycles",
}


class _Tasks(Mapping[str, Task]):
    """Tasks by name."""

    def __getitem__(self, name: str) -> Task:
        module = importlib.import_module(f"{__name__}.{MODULES[name]}")
        return cast(Task, module.TASK)

    def __iter__(self) -> Iterator[str]:
        return iter(MODULES)

    def __len__(self) -> int:
        return len(MODULES)


TASKS: Final[Mapping[str, Task]] = _Tasks()
