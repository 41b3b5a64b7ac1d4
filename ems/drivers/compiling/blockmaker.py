"""From the points of a profile to blocks: where each one lies in what is read together.

A value and its scale factor, an array and its count, a value and what makes it valid
stay together; which requests bring them is drafted in ``drafting``.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from ems.drivers.coding.arrays import ArrayCodec
from ems.drivers.coding.block import Block, Condition, Flag, Word
from ems.drivers.coding.codec import PointCodec, TextCodec
from ems.drivers.compiling.blockplan import Cost, Line, Request, Span
from ems.drivers.compiling.drafting import Draft, Drafter, period_s, poll_classes
from ems.drivers.compiling.grouping import Item
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
        drafted = Drafter(self.profile, self.items, self.counts, self.cost).drafts()
        return self._named_alarms(tuple(map(self._block, drafted)))

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
        base = self.profile.link.base(spec.table, spec.sunspec_model)
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

    def _block(self, draft: Draft) -> Block:
        """The block that a draft describes, with the place of every point inside it."""
        at_of: dict[int, int] = {}
        for start, count in draft.requests:
            at_of |= {start + k: 2 * (len(at_of) + k) for k in range(count)}
        base = self.profile.link.base(*draft.area)
        points = {n: self.profile.points[n] for n in draft.names if n in self.profile.points}
        place = {name: at_of[first(spec) - base] for name, spec in points.items()}
        cycle_s = period_s(self.profile, draft.poll)
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
            period_s=cycle_s,
            ttl_s=ttl_s(cycle_s, self.profile.link.ttl_polls),
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
        for poll in poll_classes(self.profile):
            mine = [(n, spec) for n, spec in self._readable() if (spec.poll or default) == poll]
            if not mine:
                continue
            points = {n: spec for n, spec in mine if isinstance(spec, PointSpec)}
            at_of = {name: at for at, (name, _) in enumerate(mine)}
            cycle_s = period_s(self.profile, poll)
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
                period_s=cycle_s,
                ttl_s=ttl_s(cycle_s, self.profile.link.ttl_polls),
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

    def _key(self, draft: Draft) -> str:
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
