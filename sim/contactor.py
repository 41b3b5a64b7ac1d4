"""A pack's main contactor with precharge and a weld fault."""

from typing import Final

from ems.model import Contactor

PRECHARGE_S: Final = 1.5
# Looking up a member of an enum costs more than the comparison it is needed for.
OPEN: Final = Contactor.OPEN
PRECHARGE: Final = Contactor.PRECHARGE
CLOSED: Final = Contactor.CLOSED


class Switch:
    """Open on command at once, closed after precharge; a welded one never opens."""

    def __init__(self, closed: bool) -> None:
        self.wanted = closed
        self.state = CLOSED if closed else OPEN
        self._precharging_s = 0.0

    def advance(self, dt_s: float, welded: bool) -> None:
        """Follow what is wanted for ``dt_s`` seconds."""
        if self.wanted:
            if self.state is OPEN:
                self.state, self._precharging_s = PRECHARGE, 0.0
            elif self.state is PRECHARGE:
                self._precharging_s += dt_s
                if self._precharging_s >= PRECHARGE_S:
                    self.state = CLOSED
        elif not (welded and self.state is CLOSED):
            self.state = OPEN
