"""Requests of the shipped profiles against the optimum, and against point by point.

The optimum is found by another way than the planner's: beginning at the first span
not yet read, a request goes as far as the device allows. Of requests that all cost
the same, nothing can beat that.
"""

from benchmarks.sections import Figure
from ems.drivers import language
from ems.drivers.coding.block import Block
from ems.drivers.compiling.blockplan import Span
from ems.drivers.compiling.compile import compile_device
from ems.drivers.device import CompiledDevice
from ems.site import DeviceSpec

TITLE = "requests of the shipped profiles"
COUNTS = {"reported_cells": 240, "reported_temps": 80}
GOAL = 1.05


def shipped() -> dict[str, CompiledDevice]:
    """Every shipped Modbus profile, compiled for a large rack."""
    found = {}
    for name in language.shipped():
        profile = language.load(name)
        if profile.link.protocol == "modbus":
            transport = f"modbus_{profile.link.transports[0]}"
            spec = DeviceSpec("d", name, transport, "", 0, 1, "")  # type: ignore[arg-type]
            found[name] = compile_device(profile, spec, COUNTS)
    return found


def spans(block: Block) -> list[Span]:
    """What must come in one answer, as addresses: elements, with their scale factors."""
    address = list(block.addresses())
    place = {codec.name: (codec, at) for codec, at in block.scalars}
    found = []
    for codec, at in place.values():
        bounds = [at, at + 2 * codec.registers - 2]
        if codec.scale_factor in place:
            bounds.append(place[codec.scale_factor][1])
        for flag in block.flags:
            if flag.point == codec.name:
                bounds += [flag.at, flag.at + (2 if flag.type == "uint32" else 0)]
        found.append(Span(address[min(bounds) // 2], address[max(bounds) // 2]))
    for codec, at in (
        *((array.element, at) for array in block.arrays for at in array.positions),
        *((word.codec, word.at) for word in block.words),
    ):
        found.append(Span(address[at // 2], address[at // 2] + codec.registers - 1))
    for text, at in block.texts:
        found.append(Span(address[at // 2], address[at // 2] + text.registers - 1))
    return sorted(found, key=lambda span: (span.first, span.last))


def fewest(wanted: list[Span], max_registers: int, max_hole: int) -> int:
    """Fewest requests that bring every span whole."""
    count, start, reach = 0, None, -1
    for span in wanted:
        fits = start is not None and span.last - start < max_registers
        if not fits or span.first - reach - 1 > max_hole:
            count, start = count + 1, span.first
        reach = max(reach, span.last)
    return count


def run() -> list[Figure]:
    """Requests of a poll of everything, per profile, over the fewest possible."""
    figures, worst, ours_all, single_all = [], 0.0, 0, 0
    for name, device in shipped().items():
        max_hole = language.load(name).link.max_hole
        ours, best = 0, 0
        areas: dict[tuple[str, str, int | None], list[Span]] = {}
        for block in device.blocks:
            ours += len(block.requests)
            key = (block.poll, block.table, block.sunspec_model)
            areas.setdefault(key, []).extend(spans(block))
        for wanted in areas.values():
            ordered = sorted(wanted, key=lambda span: (span.first, span.last))
            best += fewest(ordered, device.link.max_read_registers, max_hole)
        worst = max(worst, ours / best)
        ours_all += ours
        single_all += sum(block.units + len(block.words) for block in device.blocks)
        figures.append(Figure(f"{name}: requests", ours, f"fewest possible {best}"))
    return [
        *figures,
        Figure("requests over the fewest possible, worst profile", worst, "×", at_most=GOAL),
        Figure("times fewer than point by point", single_all / ours_all, "×", at_least=10.0),
    ]
