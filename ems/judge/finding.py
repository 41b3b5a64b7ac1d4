"""One answer of ``ems check``."""

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How bad it is; only an error makes the command fail."""

    ERROR = "error"
    """The site must not run like this."""
    WARNING = "warning"
    """It may run, but a promise is weaker than it looks or a duty is open."""
    INFO = "info"
    """A promise that holds, with its numbers."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What was judged, why the answer is so, and what would be right."""

    severity: Severity
    rule: str
    """Stable name of the judgement, such as ``backup_hours``."""
    where: str
    """Place in the site file, such as ``converters[0].rectifier.float_v``."""
    why: str
    """The reason, with its numbers."""
    right: str = ""
    """What would be right; empty when all is well."""

    @property
    def told(self) -> str:
        """The reason and what would be right, for whoever knows the place."""
        return f"{self.why}; {self.right}" if self.right else self.why

    @property
    def text(self) -> str:
        """One line for the screen."""
        return f"{self.where}: {self.told}"


def error(rule: str, where: str, why: str, right: str) -> Finding:
    """A finding that forbids running."""
    return Finding(Severity.ERROR, rule, where, why, right)


def warning(rule: str, where: str, why: str, right: str) -> Finding:
    """A finding to act on soon."""
    return Finding(Severity.WARNING, rule, where, why, right)


def info(rule: str, where: str, why: str) -> Finding:
    """A judgement that passed."""
    return Finding(Severity.INFO, rule, where, why)
