"""The site's devices over real sockets, as one process image.

One task per connection fills the image; :meth:`FieldIO.snapshot` freezes it and
:meth:`FieldIO.send` hands over commands, both without waiting.
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import partial
from math import inf, isfinite
from typing import Any, Final

from ems.clock import Clock, SystemClock
from ems.drivers.connect import by_connection, connection
from ems.drivers.device import CompiledDevice
from ems.drivers.serving import budget
from ems.drivers.serving.freeze import (
    cell_block,
    channel,
    converter_reading,
    grid_reading,
    pack_reading,
)
from ems.drivers.serving.image import HEARTBEAT, DeviceImage
from ems.drivers.serving.owner import Context, Member, Order, Owner
from ems.drivers.wiring import channels, frequency_device
from ems.model import (
    MISSING,
    Command,
    CommandResult,
    Contactor,
    OperatorRequest,
    Reading,
    SetContactor,
    SetPower,
    SetRectifier,
    SiteSnapshot,
)
from ems.site import Site

log = logging.getLogger(__name__)

STOP_S: Final = 3.0
"""Longest time stopping may take before the tasks are cancelled."""
RESTART_S: Final = 1.0
"""Pause before a connection task that failed unexpectedly is started again."""
DEVICE_TIMEOUT_S: Final = 10.0
"""For devices that are no converter; theirs comes from the site file."""
BUDGET_FILE: Final = "write-budget.json"
_PHASES: Final = 8
"""Polls of different connections are spread over this many parts of a period."""


class FieldIO:
    """All devices of a site.

    What a device does not provide is ``MISSING`` in every snapshot; its profile says
    so under ``not_provided``. Grid frequency comes from the grid meter, else from the
    first other meter that has it.

    Args:
        site: The compiled site.
        devices: Its devices, from :func:`ems.drivers.roles.compile_site`; reading profiles
            is done before, so that the control process needs no library for it.
        clock: Monotonic time; the same as the caller's of :meth:`snapshot`.
        observe: Read only; every write is refused at the transport and counted.
        tap: Sees every answer as it came: device, block and content.
    """

    def __init__(
        self,
        site: Site,
        devices: Mapping[str, CompiledDevice],
        clock: Clock | None = None,
        observe: bool = False,
        tap: Callable[[str, str, Any], None] | None = None,
    ) -> None:
        self.site = site
        self.devices = devices
        self.images: Mapping[str, DeviceImage] = {
            name: _image(device) for name, device in self.devices.items()
        }
        self._clock = clock or SystemClock()
        self._observe = observe
        self._tap = tap
        self._silent: set[str] = set()
        self._results: deque[CommandResult] = deque(maxlen=1000)
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._owners: list[Owner] = []
        self._served_by: dict[str, tuple[Owner, Member]] = {}
        self._channels = channels(site)
        self._frequency = frequency_device(site, dict(self.devices))

    @property
    def refused_writes(self) -> int:
        """Writes stopped at the transport because we only observe."""
        return sum(owner.connection.refused_writes for owner in self._owners)

    @property
    def sent_writes(self) -> int:
        """Writes that left for the wire, counted at the last place they pass."""
        return sum(owner.connection.sent_writes for owner in self._owners)

    @property
    def members(self) -> Mapping[str, Member]:
        """What the owners of the connections know of each device; empty before the start."""
        return {name: member for name, (_, member) in self._served_by.items()}

    def certificates(self) -> tuple[tuple[str, str, datetime], ...]:
        """Device, whose (``own`` or ``server``) and end of validity of each OPC UA certificate.

        As of the last connection; may be called from any thread.
        """
        return tuple(
            (member.id, whose, until)
            for owner in self._owners
            for whose, until in getattr(owner.connection, "expires_utc", {}).items()
            for member in owner.members
        )

    def fall_silent(self, device: str) -> None:
        """Stop showing a device our counter: what it does without us is to be seen."""
        member = self.members[device]
        if isfinite(member.beat_due_s):
            self._silent.add(device)
            member.beat_due_s = inf

    def speak_again(self, device: str) -> None:
        """End :meth:`fall_silent`."""
        if device in self._silent:
            self._silent.remove(device)
            self.members[device].beat_due_s = self._clock.monotonic_s()

    async def start(self) -> None:
        """Start one task per connection; devices come up as they answer."""
        self._owners = list(self._build_owners())
        for owner in self._owners:
            self._launch(owner)

    async def stop(self) -> None:
        """Safe state first, then disconnect."""
        self._stopping = True
        for owner in self._owners:
            owner.request_stop()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=STOP_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def snapshot(
        self,
        now_s: float,
        now_utc: datetime,
        clock_ok: bool,
        lateness_s: float,
        requests: tuple[OperatorRequest, ...],
    ) -> SiteSnapshot:
        """Freeze the process image; ages and qualities as of ``now_s``."""
        site, images = self.site, self.images
        results = tuple(self._results)
        self._results.clear()
        load_on = [self._of_load(i, "load_on", now_s).good for i in range(len(site.loads))]
        return SiteSnapshot(
            now_s=now_s,
            now_utc=now_utc,
            clock_ok=clock_ok,
            cells=cell_block(site, images, now_s),
            packs=tuple(pack_reading(images[pack.device], now_s) for pack in site.packs),
            converters=tuple(converter_reading(images[c.device], now_s) for c in site.converters),
            grid=grid_reading(images[site.grid.device], images[self._frequency], now_s),
            load_power_w=tuple(
                self._of_load(i, "load_power_w", now_s) for i in range(len(site.loads))
            ),
            load_on=tuple(None if on is None else on > 0.5 for on in load_on),
            pv_power_w=(
                MISSING if site.pv is None else images[site.pv.device].read("pv_power_w", now_s)
            ),
            lateness_s=lateness_s,
            requests=requests,
            results=results,
        )

    def send(self, commands: tuple[Command, ...]) -> None:
        """Queue commands, the newest per actuator; outcomes come with a later snapshot."""
        now_s = self._clock.monotonic_s()
        for command in commands:
            device, write, context, element = self._route(command)
            served = self._served_by.get(device)
            if served is None:
                problem = "no device carries out this command"
            elif write not in served[1].port.device.writes:
                problem = f"the profile of {device} has no write {write!r}"
            else:
                served[0].submit(served[1], Order(command, write, context, element, now_s))
                continue
            self._results.append(CommandResult(command, False, problem, now_s))

    def _launch(self, owner: Owner) -> None:
        if self._stopping:
            return
        task = asyncio.create_task(owner.run())
        self._tasks.add(task)
        task.add_done_callback(partial(self._ended, owner))

    def _ended(self, owner: Owner, task: asyncio.Task[None]) -> None:
        """A connection task ended; one that failed must neither pass unseen nor stay dead."""
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        names = ", ".join(member.id for member in owner.members)
        log.critical("connection task of %s failed; starting it again", names, exc_info=error)
        owner.abandon("its connection task failed")
        asyncio.get_running_loop().call_later(RESTART_S, self._launch, owner)

    def _route(self, command: Command) -> tuple[str, str, Context, int]:
        """Device, write of its profile, values, and array element of a command."""
        site = self.site
        if isinstance(command, SetPower):
            device = site.converters[command.converter].device
            return device, "power", {"power_w": command.power_w}, 0
        if isinstance(command, SetRectifier):
            limits = {
                "power_limit_w": command.power_limit_w,
                "charge_limit_a": command.charge_limit_a,
            }
            return site.converters[command.converter].device, "rectifier", limits, 0
        if isinstance(command, SetContactor):
            state = Contactor.CLOSED if command.close else Contactor.OPEN
            return site.packs[command.pack].device, "contactor", {"contactor": float(state)}, 0
        element = self._channels.get(command.load, 0)
        return (
            site.loads[command.load].device or "",
            "load",
            {"load_on": float(command.on)},
            element,
        )

    def _of_load(self, index: int, name: str, now_s: float) -> Reading:
        device = self.site.loads[index].device
        if device is None:
            return MISSING
        return channel(self.images[device], name, self._channels[index], now_s)

    def _build_owners(self) -> Iterator[Owner]:
        timeouts = {c.device: c.device_timeout_s for c in self.site.converters}
        budgets = self._load_budgets()
        for number, devices in enumerate(by_connection(self.devices.values())):
            link, port_type = connection(devices, self._observe)
            members = [
                Member(
                    id=device.spec.id,
                    port=port_type(link, device),
                    image=self.images[device.spec.id],
                    device_timeout_s=timeouts.get(device.spec.id, DEVICE_TIMEOUT_S),
                    phase=((number + k) % _PHASES) / _PHASES,
                    budget=budgets.get(device.spec.id, budget.Budget()),
                )
                for k, device in enumerate(devices)
            ]
            if self._tap is not None:
                for member in members:
                    member.port.tap = partial(self._tap, member.id)
            rng = random.Random(number)
            owner = Owner(link, members, self._clock, self._results.append, rng, self._save_budgets)
            self._served_by.update({member.id: (owner, member) for member in members})
            yield owner

    def _load_budgets(self) -> dict[str, budget.Budget]:
        """What a run before this one wrote to memory that wears out."""
        if not any(w.daily_budget for d in self.devices.values() for w in d.writes.values()):
            return {}
        now_s, now_unix_s = self._clock.monotonic_s(), self._clock.now_utc().timestamp()
        return budget.load(self.site.data_dir / BUDGET_FILE, now_s, now_unix_s)

    def _save_budgets(self) -> None:
        budgets = {member.id: member.budget for _, member in self._served_by.values()}
        now_s, now_unix_s = self._clock.monotonic_s(), self._clock.now_utc().timestamp()
        budget.save(self.site.data_dir / BUDGET_FILE, budgets, now_s, now_unix_s)


def _image(device: CompiledDevice) -> DeviceImage:
    beat = device.heartbeat.point if device.heartbeat is not None else HEARTBEAT
    return DeviceImage.of(device.blocks, device.alarm_parts, beat)
