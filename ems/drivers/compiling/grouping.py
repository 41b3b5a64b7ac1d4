"""Which points belong to one moment and must come in one answer, if it can hold them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ems.drivers.compiling.blockplan import Cost, Limits, NoPlan, Request, Span, plan
from ems.drivers.language.base import Table
from ems.drivers.language.points import CountFrom
from ems.drivers.language.profile import Profile

Area = tuple[Table, int | None]
"""Register table and SunSpec model."""


@dataclass(frozen=True, slots=True)
class Item:
    """A point or bit field with its elements' spans, addresses as sent."""

    name: str
    area: Area
    poll: str
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Items of one area that belong together."""

    items: tuple[Item, ...]
    strict: bool
    """The profile demands one answer; else an array too long for it may take several."""

    @property
    def spans(self) -> list[Span]:
        return [span for item in self.items for span in item.spans]

    @property
    def hull(self) -> Span:
        """From the first to the last register of all of them."""
        spans = self.spans
        return Span(min(span.first for span in spans), max(span.last for span in spans))

    def wanted(self, limits: Limits, cost: Cost) -> list[Span]:
        """What must come in one answer: all of it where possible, else each element."""
        if len(self.items) == 1:
            return self.spans
        if not self.strict:
            try:
                plan([self.hull], limits, cost)
            except NoPlan:
                return self.spans
        return [self.hull]


def groups(profile: Profile, items: Mapping[str, Item]) -> list[Group]:
    """The items by what belongs together; most stand alone.

    Raises:
        ValueError: what belongs together lies in different tables, or is not read.
    """
    members = {name: {name} for name in items}
    strict = set[str]()
    for names, is_strict in _bonds(profile, items):
        for name in names:
            if name not in members:
                raise ValueError(f"{names[0]} must be read with {name}, which is not read")
        joined = set[str]().union(*(members[name] for name in names))
        if len({items[name].area for name in joined}) > 1:
            raise ValueError(f"{' and '.join(sorted(joined))} must be read together")
        for name in joined:
            members[name] = joined
        if is_strict:
            strict |= set(names)
    found, seen = [], set[str]()
    for name in items:
        if name not in seen:
            seen |= members[name]
            together = tuple(item for key, item in items.items() if key in members[name])
            found.append(Group(together, bool(strict & members[name])))
    return found


def _bonds(profile: Profile, items: Iterable[str]) -> Iterator[tuple[tuple[str, ...], bool]]:
    """Names that belong together, and whether the profile itself demands it."""
    for names in profile.link.atomic:
        yield names, True
    for name in items:
        point = profile.points.get(name)
        if point is None:
            continue
        if point.scale_factor:
            yield (name, point.scale_factor), False
        if isinstance(point.count, CountFrom):
            yield (name, point.count.point), False
        if point.valid_if is not None:
            yield (name, point.valid_if.point), False


def joined(requests: list[Request], together: list[Group]) -> list[list[Request]]:
    """The requests; those that bring parts of one array or group in one list."""
    home = list(range(len(requests)))

    def root(at: int) -> int:
        while home[at] != at:
            at = home[at]
        return at

    for group in together:
        touched = [_holder(requests, span) for span in group.spans]
        for at in touched[1:]:
            home[root(at)] = root(touched[0])
    by_root: dict[int, list[Request]] = {}
    for at, request in enumerate(requests):
        by_root.setdefault(root(at), []).append(request)
    return list(by_root.values())


def holds(request: Request, span: Span) -> bool:
    """Whether a request brings the whole span."""
    return request[0] <= span.first and span.last < request[0] + request[1]


def _holder(requests: list[Request], span: Span) -> int:
    return next(at for at, request in enumerate(requests) if holds(request, span))
