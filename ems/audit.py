"""Every operator request: into the log and before the gate, in the order that is safe for it.

What loosens waits for its durable record. What only ever lowers power, a disarm or a
set-point of zero, acts first: a full disk must never stand in its way.
"""

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from typing import Protocol

from ems.clock import Clock
from ems.door import Answer
from ems.journal.writer import Journal
from ems.model import OperatorRequest, RequestKind

INSPECT = (
    "the saved interlock state could not be read, so nobody knows which latches stood; "
    'look at the log and the packs, then `ems reset all -m "…"`, then arm'
)


class Gate(Protocol):
    """The control loop as an operator's request meets it."""

    @property
    def clock_ok(self) -> bool:
        """Whether the wall clock may be trusted."""
        ...

    async def operator(self, request: OperatorRequest) -> str:
        """Put a request before the gate; empty when granted, else the reason."""
        ...


class Audit:
    """Answers operator requests.

    Args:
        journal: The interlock log.
        gate: Who decides.
        clock: Stamps the records.
        latched: Whether any latch stands at this moment.
        lost: Why the interlock state of the last run is not known; empty when it is.
        uncommissioned: Why the site must not be armed; empty when its devices are proven.
    """

    def __init__(
        self,
        journal: Journal,
        gate: Gate,
        clock: Clock,
        latched: Callable[[], bool],
        lost: str,
        uncommissioned: Callable[[], str],
    ) -> None:
        self.lost = lost
        """Not empty: arming is refused until an operator has reset all."""
        self._journal = journal
        self._gate = gate
        self._clock = clock
        self._latched = latched
        self._uncommissioned = uncommissioned

    async def ask(self, request: OperatorRequest) -> Answer:
        """What becomes of a request."""
        if lowers_power(request):
            refusal = await self._gate.operator(request)
            problem = await self._log("operator_request", request)
            return Answer(refusal, f"it is not in the log: {problem}" if problem else "")
        problem = await self._log("operator_request", request)
        if problem:
            return Answer(f"the log cannot be written ({problem}); nothing is loosened without it")
        if request.kind is RequestKind.ARM:
            return await self._arm(request)
        if not self.lost:
            return Answer(await self._gate.operator(request))
        return await self._inspected(request)

    async def _arm(self, request: OperatorRequest) -> Answer:
        """Arming asks for more than the gate knows: a known past and proven devices."""
        refusal = self.lost and INSPECT
        if not refusal:
            loop = asyncio.get_running_loop()
            refusal = await loop.run_in_executor(None, self._uncommissioned)
        if not refusal:
            return Answer(await self._gate.operator(request))
        await self._log("REQUEST_REFUSED", request, refusal=refusal)
        return Answer(refusal)

    async def _inspected(self, request: OperatorRequest) -> Answer:
        """A request other than to arm while the interlock state of the last run is not known."""
        if request.kind is not RequestKind.RESET or request.target:
            return Answer(await self._gate.operator(request))
        if self._latched():
            refusal = await self._gate.operator(request)
            if refusal:
                return Answer(refusal)
        problem = await self._log("STATE_INSPECTED", request, found=self.lost)
        if problem:
            return Answer(f"the log cannot be written ({problem}); arming stays refused")
        self.lost = ""
        return Answer("")

    async def _log(self, kind: str, request: OperatorRequest, **more: str) -> str:
        """Make a record durable; empty when it is, else why not."""
        text = f"{_what(request)} by {request.actor}: {request.reason}"
        data = asdict(request) | more | {"text": "; ".join([text, *more.values()])}
        now_s, now_utc = self._clock.monotonic_s(), self._clock.now_utc()
        try:
            self._journal.append(kind, data, now_s, now_utc, clock_ok=self._gate.clock_ok)
            await asyncio.get_running_loop().run_in_executor(None, self._journal.commit)
        except OSError as error:
            return str(error)
        return ""


def _what(request: OperatorRequest) -> str:
    match request.kind:
        case RequestKind.ACK | RequestKind.RESET:
            return f"{request.kind} {request.target or 'all'}"
        case RequestKind.SETPOINT | RequestKind.NOTICE if not request.duration_s:
            return f"end of {request.kind}"
        case RequestKind.SETPOINT:
            return f"{request.kind} {request.value:g} W for {request.duration_s:g} s"
        case RequestKind.NOTICE:
            return f"{request.kind} {request.value:g} h for {request.duration_s:g} s"
    return str(request.kind)


def lowers_power(request: OperatorRequest) -> bool:
    """Whether a request can only bring the site nearer to rest."""
    still = request.kind is RequestKind.SETPOINT and request.value == 0.0
    return request.kind is RequestKind.DISARM or (still and request.duration_s > 0.0)
