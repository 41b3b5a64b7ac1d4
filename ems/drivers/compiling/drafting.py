"""Which points are read together, and by which requests.

Reads are planned per register table and poll class, the fastest class first; what a
faster request brings along anyway is not asked for again. A profile that pins its
blocks is held to them instead.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from ems.drivers.compiling.blockplan import Cost, Limits, Request, Span, plan
from ems.drivers.compiling.grouping import Area, Group, Item, groups, holds, joined
from ems.drivers.language.profile import Profile
from ems.drivers.language.shape import Counts

_ENDLESS: Final = {"once": 1e15, "on_demand": 1e16}
"""Classes without a period, after all others, in ms."""


@dataclass(slots=True)
class Draft:
    """Requests that make one block, and the points found to lie in it."""

    poll: str
    area: Area
    requests: list[Request]
    names: list[str] = field(default_factory=list)
    key: str = ""

    def holds(self, group: Group) -> bool:
        """Whether its requests bring every span of a group."""
        return all(any(holds(request, span) for request in self.requests) for span in group.spans)


def poll_classes(profile: Profile) -> list[str]:
    """Poll classes, the fastest first; those without a period last."""
    return sorted(profile.link.poll_ms | _ENDLESS, key=lambda poll: _period_ms(profile, poll))


def period_s(profile: Profile, poll: str) -> float:
    """Period of a poll class, s; infinite for those without one."""
    return math.inf if poll in _ENDLESS else _period_ms(profile, poll) / 1000


def _period_ms(profile: Profile, poll: str) -> float:
    return profile.link.poll_ms.get(poll, _ENDLESS.get(poll, math.inf))


@dataclass(frozen=True, slots=True)
class Drafter:
    """Drafts the blocks of a Modbus device.

    Raises:
        ValueError: it cannot be done; says why.
    """

    profile: Profile
    items: Mapping[str, Item]
    counts: Counts
    cost: Cost

    def drafts(self) -> list[Draft]:
        """Every block, the fastest poll class first, or as the profile pins them."""
        return list(self._pinned()) if self.profile.blocks else self._planned()

    def _planned(self) -> list[Draft]:
        drafts: list[Draft] = []
        together = groups(self.profile, self.items)
        for poll in poll_classes(self.profile):
            mine = [group for group in together if self._poll_of(group) == poll]
            for area in dict.fromkeys(group.items[0].area for group in mine):
                inside = [group for group in mine if group.items[0].area == area]
                inside = [group for group in inside if not _rides(group, drafts)]
                limits = self._limits(area)
                spans = [span for group in inside for span in group.wanted(limits, self.cost)]
                requests = plan(spans, limits, self.cost)
                drafted = [Draft(poll, area, r) for r in joined(requests, inside)]
                for group in inside:
                    home = next(draft for draft in drafted if draft.holds(group))
                    home.names.extend(item.name for item in group.items)
                drafts += drafted
        return drafts

    def _pinned(self) -> Iterator[Draft]:
        drafts = []
        for key, spec in self.profile.blocks.items():
            if isinstance(spec.count, str) and spec.count not in self.counts:
                raise ValueError(f"block {key}: {spec.count} is known for packs only")
            count = self.counts[spec.count] if isinstance(spec.count, str) else spec.count
            area = (spec.table, spec.sunspec_model)
            start = spec.start - self.profile.link.base(*area)
            drafts.append(Draft(spec.poll, area, [(start, count)], key=key))
        for group in groups(self.profile, self.items):
            homes = [
                draft
                for draft in drafts
                if draft.area == group.items[0].area and holds(draft.requests[0], group.hull)
            ]
            names = " and ".join(item.name for item in group.items)
            if len(homes) != 1:
                where = " and ".join(draft.key for draft in homes) or "no block"
                raise ValueError(f"{names}: lies in {where}; every value lies in exactly one block")
            homes[0].names.extend(item.name for item in group.items)
        for draft in drafts:
            draft.requests = self._parts(draft)
            yield draft

    def _parts(self, draft: Draft) -> list[Request]:
        """A pinned block in parts that the device can give, none cutting an element."""
        start, end = draft.requests[0][0], sum(draft.requests[0])
        spans = [span for name in draft.names for span in self.items[name].spans]
        parts = []
        while start < end:
            stop = min(end, start + self.profile.link.max_read_registers)
            cut = [span.first for span in spans if span.first < stop <= span.last]
            stop = min([stop, *cut]) if stop < end else stop
            if stop <= start:
                raise ValueError(f"block {draft.key}: a value is longer than one answer")
            parts.append((start, stop - start))
            start = stop
        return parts

    def _limits(self, area: Area) -> Limits:
        link = self.profile.link
        base = link.base(*area)
        holes = tuple(
            Span(hole.first - base, hole.last - base)
            for hole in link.holes
            if (hole.table, hole.sunspec_model) == area
        )
        return Limits(link.max_read_registers, link.max_hole, holes)

    def _poll_of(self, group: Group) -> str:
        return min(
            (item.poll for item in group.items), key=lambda poll: _period_ms(self.profile, poll)
        )


def _rides(group: Group, drafts: list[Draft]) -> bool:
    """Whether one request that is made anyway brings the group; then it is counted there."""
    for draft in drafts:
        if draft.area == group.items[0].area and any(
            holds(request, group.hull) for request in draft.requests
        ):
            draft.names.extend(item.name for item in group.items)
            return True
    return False
