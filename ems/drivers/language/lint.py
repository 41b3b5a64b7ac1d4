"""What a well-formed profile can still get wrong, each mistake with its place."""

from collections.abc import Callable, Iterator
from typing import Final

from ems.drivers.language import lint_points, lint_rules
from ems.drivers.language.base import (
    CONVERTER_POINTS,
    PACK_POINTS,
    Problem,
)
from ems.drivers.language.profile import Profile
from ems.drivers.language.shape import Claim, Counts, claims
from ems.drivers.rules import Kind
from ems.yamlfile import nearest

_MODBUS_ONLY: Final = {
    "transports", "gap_ms", "turnaround_ms", "latency_max_ms", "garbage_on_open", "address_base",
    "max_read_registers", "max_write_registers", "write_function", "max_hole", "holes",
    "atomic", "sunspec_models",
}  # fmt: skip
_OPCUA_ONLY: Final = {"namespace_uri", "opcua_mode", "publish_ms", "source_age_max_s"}
ALWAYS_CLASSES: Final = ("once", "on_demand")
"""Poll classes that need no period."""


def problems(profile: Profile) -> list[Problem]:
    """Everything wrong with a profile, as (place in the file, message)."""
    found: list[Problem] = []
    for check in CHECKS:
        found.extend(check(profile))
    if not found:
        # After a wrong point they would only repeat it.
        found.extend(overlaps(profile, {}))
    return found


def overlaps(profile: Profile, counts: Counts) -> Iterator[Problem]:
    """Registers claimed twice, and registers that no read may touch."""
    if profile.link.protocol == "opcua":
        return
    taken: dict[tuple[str, int | None, int], list[tuple[int, Claim]]] = {}
    told: set[tuple[str, str]] = set()
    for claim in claims(profile, counts):
        for register, mask in claim.mask_of.items():
            here = taken.setdefault((claim.table, claim.sunspec_model, register), [])
            for other_mask, other in here:
                pair = (claim.name, other.name)
                if mask & other_mask and not (claim.alias or other.alias) and pair not in told:
                    told.add(pair)
                    yield (
                        claim.place,
                        f"register {_hex(register)} belongs to {other.name} already; correct the "
                        "address, or say alias: true if one register really means both",
                    )
            here.append((mask, claim))
        for number, hole in enumerate(profile.link.holes):
            same = (hole.table, hole.sunspec_model) == (claim.table, claim.sunspec_model)
            inside = [r for r in claim.mask_of if hole.first <= r <= hole.last]
            if same and inside:
                yield claim.place, f"register {_hex(inside[0])} lies in link.holes[{number}]"


def _hex(register: int) -> str:
    return f"{register} (0x{register:X})"


def _link(profile: Profile) -> Iterator[Problem]:
    link = profile.link
    wrong = _MODBUS_ONLY if link.protocol == "opcua" else _OPCUA_ONLY
    for key in sorted(wrong & link.model_fields_set):
        yield ("link", key), f"has no meaning for {link.protocol}"
    if link.protocol == "opcua" and not link.namespace_uri:
        yield ("link",), "namespace_uri is missing: the OPC UA namespace of the node ids"
    for key in ALWAYS_CLASSES:
        if key in link.poll_ms:
            yield ("link", "poll_ms", key), "needs no period; the class exists without it"
    for number, hole in enumerate(link.holes):
        if hole.last < hole.first:
            yield ("link", "holes", number), f"ends at {hole.last} before it begins"
    for number, names in enumerate(link.atomic):
        for name in names:
            if name not in profile.points and name not in profile.bitfields:
                known = {*profile.points, *profile.bitfields}
                yield ("link", "atomic", number), f"{name!r} is not a point{nearest(name, known)}"


def _blocks(profile: Profile) -> Iterator[Problem]:
    for key, block in profile.blocks.items():
        if block.poll not in {*profile.link.poll_ms, *ALWAYS_CLASSES}:
            yield ("blocks", key, "poll"), _no_class(profile, block.poll)
        if profile.link.protocol == "opcua":
            yield ("blocks", key), "an OPC UA device has no blocks; its points carry poll"


def _no_class(profile: Profile, name: str) -> str:
    known = {*profile.link.poll_ms, *ALWAYS_CLASSES}
    return f"poll class {name!r} is not in link.poll_ms{nearest(name, known)}"


def _classes(profile: Profile) -> Iterator[Problem]:
    known = {*profile.link.poll_ms, *ALWAYS_CLASSES}
    for name, point in profile.points.items():
        if point.poll and point.poll not in known:
            yield ("points", name, "poll"), _no_class(profile, point.poll)
    for name, field in profile.bitfields.items():
        if field.poll and field.poll not in known:
            yield ("bitfields", name, "poll"), _no_class(profile, field.poll)


def _absences(profile: Profile) -> Iterator[Problem]:
    wanted: tuple[str, ...] = ()
    if profile.kind is Kind.PACK:
        wanted = PACK_POINTS
    elif profile.kind is Kind.CONVERTER:
        wanted = CONVERTER_POINTS
    for name in wanted:
        if name not in profile.provides and name not in profile.not_provided:
            what = "a bit field, nor " if name == "alarm_level" else ""
            yield (
                ("points",),
                f"{name}: neither a point nor {what}explained in not_provided",
            )
    for name in profile.not_provided:
        if name in profile.provides:
            yield ("not_provided", name), "is provided, so it cannot be listed here too"


CHECKS: Final[tuple[Callable[[Profile], Iterator[Problem]], ...]] = (
    _link,
    _blocks,
    _classes,
    lint_points.points,
    lint_points.bitfields,
    lint_rules.steps,
    lint_rules.writes,
    lint_rules.signs_of_life,
    lint_rules.identity,
    lint_rules.golden,
    _absences,
)
