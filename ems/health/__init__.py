"""What the weakest cells can still do: SoC, resistance, deliverable backup energy."""

from ems.health.backup.deliverable import deliverable
from ems.health.backup.held import HeldBackup, backup_now
from ems.health.estimator import update
from ems.health.state import HealthState, initial, load, save

__all__ = [
    "HealthState",
    "HeldBackup",
    "backup_now",
    "deliverable",
    "initial",
    "load",
    "save",
    "update",
]
