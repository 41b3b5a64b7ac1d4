"""From the points of a profile to blocks: which are read together, and where each one lies.

Reads are planned per register table and poll class, the fastest class first; what a
faster request brings along anyway is not asked for again. A value and its scale
factor, an array and its count, a value and what makes it valid stay together.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from ems.drivers.coding.arrays import ArrayCodec
from ems.drivers.coding.block import Block, Condition, Flag, Word
from ems.drivers.coding.codec import PointCodec, TextCodec
from ems.drivers.compiling.blockplan import Cost, Limits, Line, Request, Span, plan
from ems.drivers.compiling.grouping import Area, Group, Item, groups, holds, joined
from ems.drivers.compiling.linefit import ttl_s
from ems.drivers.language.points import BitfieldSpec, CountFrom, PointSpec
from ems.drivers.language.profile import Profile
from ems.drivers.language.shape import (
    Counts,
    element_starts,
    first,
    number_of,
    registers,
    words_of,
)
from ems.drivers.rules import Bit, Bitfield, Severity

_ALARM: Final = "alarm_level"
_ENDLESS: Final = {"once": 1e15, "on_demand": 1e16}
"""Classes without a period, after all others, in ms."""


@dataclass(frozen=True)
class BlockMaker:
    """Makes the blocks of one device. Raises ``ValueError`` with the reason when it cannot."""

    profile: Profile
    codecs: Mapping[str, PointCodec]
    texts: Mapping[str, TextCodec]
    words: Mapping[str, PointCodec]
    counts: Counts
    options: Mapping[str, str]
    cost: Cost
    line: Line | None
    items: dict[str, Item] = field(default_factory=dict)

    def blocks(self) -> tuple[Block, ...]:
        """Every block, the fastest poll class first."""
        if self.profile.link.protocol == "opcua":
            return self._named_alarms(tuple(self._node_blocks()))
        for name, spec in self._readable():
            self.items[name] = self._item(name, spec)
        made = self._pinned() if self.profile.blocks else self._planned()
        return self._named_alarms(tuple(made))

    def known_counts(self, name: str) -> Counts:
        """Counts of the site file, after making sure that the point's own is among them."""
        count = self.profile.points[name].count
        if isinstance(count, str) and count not in self.counts:
            raise ValueError(f"{name}: {count} is known for packs only")
        return self.counts

    def node(self, node: str) -> str:
        """A node id with the device's options filled in."""
        try:
            return node.format_map(dict(self.options))
        except KeyError as error:
            raise ValueError(f"node id {node!r} needs the option {error}") from None

    def _readable(self) -> Iterator[tuple[str, PointSpec | BitfieldSpec]]:
        for name, point in self.profile.points.items():
            if point.access != "w":
                yield name, point
        yield from self.profile.bitfields.items()

    def _item(self, name: str, spec: PointSpec | BitfieldSpec) -> Item:
        base = 0 if spec.sunspec_model is not None else self.profile.link.address_base
        starts: tuple[int, ...] = (0,)
        if isinstance(spec, PointSpec):
            starts = element_starts(spec, self.known_counts(name))
        size = registers(spec)
        spans = [Span(first(spec) - base + k, first(spec) - base + k + size - 1) for k in starts]
        if isinstance(spec, PointSpec) and spec.override is not None:
            words = 2 if spec.override.type == "uint32" else 1
            flag = spec.override.at - base
            ends = (spans[0].first, spans[0].last, flag, flag + words - 1)
            spans = [Span(min(ends), max(ends))]
        area = (spec.table, spec.sunspec_model)
        return Item(name, area, spec.poll or next(iter(self.profile.link.poll_ms)), tuple(spans))

    def _planned(self) -> Iterator[Block]:
        drafts: list[_Draft] = []
        together = groups(self.profile, self.items)
        for poll in sorted(self.profile.link.poll_ms | _ENDLESS, key=self._period_ms):
            mine = [group for group in together if self._poll_of(group) == poll]
            for area in dict.fromkeys(group.items[0].area for group in mine):
                inside = [group for group in mine if group.items[0].area == area]
                inside = [group for group in inside if not _rides(group, drafts)]
                limits = self._limits(area)
                spans = [span for group in inside for span in group.wanted(limits, self.cost)]
                requests = plan(spans, limits, self.cost)
                drafted = [_Draft(poll, area, r) for r in joined(requests, inside)]
                for group in inside:
                    home = next(draft for draft in drafted if draft.holds(group))
                    home.names.extend(item.name for item in group.items)
                drafts += drafted
        yield from map(self._block, drafts)

    def _pinned(self) -> Iterator[Block]:
        drafts = []
        for key, spec in self.profile.blocks.items():
            base = 0 if spec.sunspec_model is not None else self.profile.link.address_base
            if isinstance(spec.count, str) and spec.count not in self.counts:
                raise ValueError(f"block {key}: {spec.count} is known for packs only")
            count = self.counts[spec.count] if isinstance(spec.count, str) else spec.count
            area = (spec.table, spec.sunspec_model)
            drafts.append(_Draft(spec.poll, area, [(spec.start - base, count)], key=key))
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
            yield self._block(draft)

    def _parts(self, draft: "_Draft") -> list[Request]:
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
        base = 0 if area[1] is not None else link.address_base
        holes = tuple(
            Span(hole.first - base, hole.last - base)
            for hole in link.holes
            if (hole.table, hole.sunspec_model) == area
        )
        return Limits(link.max_read_registers, link.max_hole, holes)

    def _poll_of(self, group: Group) -> str:
        return min((item.poll for item in group.items), key=self._period_ms)

    def _period_ms(self, poll: str) -> float:
        return self.profile.link.poll_ms.get(poll, _ENDLESS.get(poll, math.inf))

    def _period_s(self, poll: str) -> float:
        return math.inf if poll in _ENDLESS else self._period_ms(poll) / 1000

    def _block(self, draft: "_Draft") -> Block:
        """The block that a draft describes, with the place of every point inside it."""
        at_of: dict[int, int] = {}
        for start, count in draft.requests:
            at_of |= {start + k: 2 * (len(at_of) + k) for k in range(count)}
        base = 0 if draft.area[1] is not None else self.profile.link.address_base
        points = {n: self.profile.points[n] for n in draft.names if n in self.profile.points}
        place = {name: at_of[first(spec) - base] for name, spec in points.items()}
        period_s = self._period_s(draft.poll)
        flags = []
        for name, spec in points.items():
            if spec.override is not None:
                flags.append(
                    Flag(
                        point=name,
                        type=spec.override.type,
                        at=at_of[spec.override.at - base],
                        mask=spec.override.mask,
                        when=self._code(name, spec.override.when),
                        code=self._code(name, spec.override.code),
                    )
                )
        words = tuple(
            Word(
                self.words[name],
                at_of[first(self.profile.bitfields[name]) - base],
                masks(self.profile.bitfields[name]),
            )
            for name in draft.names
            if name in self.words
        )
        return Block(
            key=draft.key or self._key(draft),
            table=draft.area[0],
            sunspec_model=draft.area[1],
            requests=tuple(draft.requests),
            period_s=period_s,
            ttl_s=ttl_s(period_s, self.profile.link.ttl_polls),
            scalars=tuple(
                (self.codecs[n], place[n])
                for n, spec in points.items()
                if n in self.codecs and spec.count is None
            ),
            arrays=tuple(
                ArrayCodec(
                    self.codecs[name],
                    tuple(at_of[span.first] for span in self.items[name].spans),
                    spec.count.point if isinstance(spec.count, CountFrom) else "",
                )
                for name, spec in points.items()
                if spec.count is not None
            ),
            texts=tuple((self.texts[n], place[n]) for n in points if n in self.texts),
            words=words,
            flags=tuple(flags),
            conditions=self._conditions(points),
            alarm=_ALARM if words else "",
            poll=draft.poll,
            wire_s=self._wire_s(draft.requests),
            own_ttl_s={n: spec.ttl_s for n, spec in points.items() if spec.ttl_s is not None},
        )

    def _node_blocks(self) -> Iterator[Block]:
        default = next(iter(self.profile.link.poll_ms))
        for poll in sorted(self.profile.link.poll_ms | _ENDLESS, key=self._period_ms):
            mine = [(n, spec) for n, spec in self._readable() if (spec.poll or default) == poll]
            if not mine:
                continue
            points = {n: spec for n, spec in mine if isinstance(spec, PointSpec)}
            at_of = {name: at for at, (name, _) in enumerate(mine)}
            period_s = self._period_s(poll)
            words = tuple(
                Word(self.words[n], at_of[n], masks(self.profile.bitfields[n]))
                for n, _ in mine
                if n in self.words
            )
            yield Block(
                key=poll,
                table="",
                sunspec_model=None,
                requests=(),
                period_s=period_s,
                ttl_s=ttl_s(period_s, self.profile.link.ttl_polls),
                scalars=tuple(
                    (self.codecs[n], at_of[n])
                    for n, spec in points.items()
                    if n in self.codecs and spec.count is None
                ),
                arrays=tuple(
                    self._node_array(n, spec, at_of[n])
                    for n, spec in points.items()
                    if spec.count is not None
                ),
                texts=tuple((self.texts[n], at_of[n]) for n in points if n in self.texts),
                words=words,
                conditions=self._conditions(points),
                nodes=tuple(self.node(spec.node) for _, spec in mine),
                alarm=_ALARM if words else "",
                poll=poll,
                own_ttl_s={n: spec.ttl_s for n, spec in points.items() if spec.ttl_s is not None},
            )

    def _node_array(self, name: str, spec: PointSpec, at: int) -> ArrayCodec:
        count = len(element_starts(spec, self.known_counts(name)))
        return ArrayCodec(self.codecs[name], (at,) * count)

    def _conditions(self, points: Mapping[str, PointSpec]) -> tuple[Condition, ...]:
        return tuple(
            Condition(
                name,
                spec.valid_if.point,
                frozenset(
                    number_of(self.profile, spec.valid_if.point, item)
                    for item in spec.valid_if.one_of
                ),
            )
            for name, spec in points.items()
            if spec.valid_if is not None
        )

    def _code(self, name: str, word: str) -> float:
        known = words_of(self.profile, name)
        if known:
            return float(known[word.lower()])
        return number_of(self.profile, name, word)

    def _wire_s(self, requests: Iterable[Request]) -> float:
        if self.line is None:
            return 0.0
        return sum(self.line.read_s(count) for _, count in requests)

    def _key(self, draft: "_Draft") -> str:
        start = draft.requests[0][0]
        if draft.area[1] is not None:
            return f"{draft.poll}:{draft.area[1]}+{start}"
        return f"{draft.poll}:{draft.area[0]}@{start}"

    def _named_alarms(self, blocks: tuple[Block, ...]) -> tuple[Block, ...]:
        """Each block's alarm level under a name of its own, where there are several."""
        sources = sum(bool(block.alarm) for block in blocks) + (_ALARM in self.profile.points)
        if sources < 2:
            return blocks
        return tuple(
            replace(block, alarm=f"{_ALARM}@{block.key}") if block.alarm else block
            for block in blocks
        )


@dataclass(slots=True)
class _Draft:
    """Requests that make one block, and the points found to lie in it."""

    poll: str
    area: Area
    requests: list[Request]
    names: list[str] = field(default_factory=list)
    key: str = ""

    def holds(self, group: Group) -> bool:
        """Whether its requests bring every span of a group."""
        return all(any(holds(request, span) for request in self.requests) for span in group.spans)


def masks(spec: BitfieldSpec) -> tuple[tuple[int, Severity], ...]:
    """(mask, severity) of a bit field's word, the worst first."""
    return bitfield("", spec).masks(16 * registers(spec))


def bitfield(name: str, spec: BitfieldSpec) -> Bitfield:
    """The plain form of a bit field."""
    bits = []
    for number, said in spec.bits.items():
        text = said if isinstance(said, str) else said.name
        severity = None if isinstance(said, str) else said.severity
        bits.append(Bit(number, text, Severity[(severity or spec.severity).upper()]))
    others = None if spec.others == "ignore" else (spec.others or spec.severity)
    return Bitfield(name, tuple(bits), None if others is None else Severity[others.upper()])


def _rides(group: Group, drafts: list[_Draft]) -> bool:
    """Whether one request that is made anyway brings the group; then it is counted there."""
    for draft in drafts:
        if draft.area == group.items[0].area and any(
            holds(request, group.hull) for request in draft.requests
        ):
            draft.names.extend(item.name for item in group.items)
            return True
    return False
