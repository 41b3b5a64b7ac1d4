"""Polling that fits a serial line: what takes long is asked less often, and lives longer.

At 9600 baud a cell array of 125 registers takes 0.3 s. Asked every second it would
leave no room for commands, so every class but the fastest is stretched until it
takes no more than its share of the line; its time to live stretches with it, and
nothing goes stale only because the line is slow. The fastest class is never
stretched: a site whose control values do not fit the line must hear so at start.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from ems.drivers.coding.block import Block
from ems.drivers.device import CompiledDevice, ProfileMisfit

FAST_SHARE: Final = 0.6
"""Most of the line's time that the fastest class of all devices may take."""
SLOW_SHARE: Final = 0.2
"""Most that all other classes may take; what remains is for commands and repeats."""
TTL_MIN_S: Final = 3.0
"""No value goes stale sooner: one late poll on a busy controller is not a fault."""
_STEPS_PER_S: Final = 10
"""Periods are stretched to whole tenths of a second."""


def ttl_s(period_s: float, polls: float) -> float:
    """Age at which a value that is read every ``period_s`` is stale, s."""
    return max(TTL_MIN_S, polls * period_s)


def fit(devices: Sequence[CompiledDevice]) -> list[CompiledDevice]:
    """The devices of one line with periods that fit it, in the same order.

    Raises:
        ProfileMisfit: the fastest poll class alone takes too much of the line.
    """
    fast = _load(block for device in devices for block in device.blocks if _is_fast(block, device))
    slow = _load(
        block for device in devices for block in device.blocks if not _is_fast(block, device)
    )
    if fast > FAST_SHARE:
        names = ", ".join(device.id for device in devices)
        raise ProfileMisfit(
            f"device {names}: the fastest poll class takes {100 * fast:.0f} % of the line's time, "
            f"{100 * FAST_SHARE:.0f} % are allowed; raise its period in poll_ms or the baud rate"
        )
    if slow <= SLOW_SHARE:
        return list(devices)
    factor = slow / SLOW_SHARE
    return [
        replace(device, blocks=tuple(_stretched(block, device, factor) for block in device.blocks))
        for device in devices
    ]


def by_line(devices: Iterable[CompiledDevice]) -> list[list[CompiledDevice]]:
    """The devices by the connection they share."""
    found: dict[tuple[str, str, int, str], list[CompiledDevice]] = {}
    for device in devices:
        spec = device.spec
        found.setdefault((spec.transport, spec.host, spec.port, spec.path), []).append(device)
    return list(found.values())


def _is_fast(block: Block, device: CompiledDevice) -> bool:
    return block.period_s <= min(other.period_s for other in device.blocks)


def _load(blocks: Iterable[Block]) -> float:
    """Share of the line's time, 0 and up."""
    return sum(block.wire_s / block.period_s for block in blocks)


def _stretched(block: Block, device: CompiledDevice, factor: float) -> Block:
    if _is_fast(block, device) or not math.isfinite(block.period_s):
        return block
    period_s = math.ceil(block.period_s * factor * _STEPS_PER_S) / _STEPS_PER_S
    return replace(block, period_s=period_s, ttl_s=ttl_s(period_s, device.link.ttl_polls))
