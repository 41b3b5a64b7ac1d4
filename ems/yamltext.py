"""YAML text to plain data with a position for every key and value.

The reader accepts the part of YAML that people and YAML 1.1, 1.2 and JSON readers
all understand alike, and refuses the rest by name: duplicate keys, ``on``/``off``/
``yes``/``no``, ``12:30`` (which YAML 1.1 reads as 750), ``0123`` (83), ``1_000``,
``.inf``, tabs, tags, a second document, and aliases that expand beyond a limit.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from ems.yamlscalar import Refused, resolve

Place = tuple[str | int, ...]
"""Keys and list indices from the root of a document to a value."""

MAX_BYTES: Final = 1_048_576
MAX_VALUES: Final = 50_000
"""Values after aliases are expanded; our largest file has about 2 000."""
MAX_DEPTH: Final = 32


@dataclass(frozen=True, slots=True)
class FileError:
    """One mistake in one file; ``str()`` is ``file:line:col: path: message``."""

    file: Path
    line: int
    """First line is 1."""
    col: int
    """First column is 1."""
    path: str
    """Where in the document, such as ``packs[2].soh_pct``; empty for the whole file."""
    message: str
    """What was found and what would be right."""

    def __str__(self) -> str:
        place = f"{self.path}: " if self.path else ""
        return f"{self.file}:{self.line}:{self.col}: {place}{self.message}"

    def position(self) -> tuple[int, int, str, str]:
        """Sort key: the order of the file."""
        return self.line, self.col, self.path, self.message


class FileErrors(Exception):
    """Everything that is wrong with a file; ``str()`` is one line per mistake."""

    def __init__(self, errors: tuple[FileError, ...]) -> None:
        super().__init__("\n".join(str(error) for error in errors))
        self.errors = errors


@dataclass(frozen=True, slots=True)
class Document:
    """Plain data (dict, list, str, int, float, bool, None) and where each part stands."""

    file: Path
    source: bytes
    data: Any
    problems: tuple[FileError, ...]
    """What is wrong with the text itself; empty after ``ems.yamlfile.read``."""
    complete: bool
    """False when the text breaks off at a syntax error: what follows is unknown."""
    values: dict[Place, tuple[int, int]] = field(repr=False)
    keys: dict[Place, tuple[int, int]] = field(repr=False)
    tainted: frozenset[Place] = field(repr=False)
    """Places already reported in ``problems``."""

    def error(self, place: Place, message: str, *, at_key: bool = False) -> FileError:
        """An error at a value, or at its key; at the nearest ancestor of what is absent."""
        known = place
        while known and known not in self.values:
            known = known[:-1]
        if known != place or at_key:
            line, col = self.keys.get(known) or self.values.get(known, (1, 1))
        else:
            line, col = self.values.get(known, (1, 1))
        return FileError(self.file, line, col, dotted(place), message)

    def is_tainted(self, place: Place) -> bool:
        """Whether the value, or something around it, was already reported."""
        return any(place[:end] in self.tainted for end in range(1, len(place) + 1))


def dotted(place: Place) -> str:
    """``packs[2].soh_pct`` for ``("packs", 2, "soh_pct")``."""
    text = ""
    for token in place:
        text += f"[{token}]" if isinstance(token, int) else f".{token}" if text else token
    return text


def parse(path: Path) -> Document:
    """The document with whatever is wrong with its text listed in ``problems``."""
    try:
        with path.open("rb") as file:
            source = file.read(MAX_BYTES + 1)
    except OSError as failure:
        reason = (failure.strerror or "unreadable").lower()
        return _unreadable(path, b"", 1, 1, f"cannot be read: {reason}")
    if len(source) > MAX_BYTES:
        return _unreadable(path, source, 1, 1, f"is larger than {MAX_BYTES} bytes")
    try:
        text = source.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as failure:
        before = source[: failure.start].decode("utf-8")
        byte = f"0x{source[failure.start]:02x}"
        return _unreadable(
            path,
            source,
            before.count("\n") + 1,
            len(before) - before.rfind("\n"),
            f"is not UTF-8 text (byte {byte}); save the file as UTF-8",
        )
    return _Reader(path, source, text).document()


def _unreadable(path: Path, source: bytes, line: int, col: int, message: str) -> Document:
    problem = FileError(path, line, col, "", message)
    return Document(path, source, None, (problem,), False, {}, {}, frozenset())


@dataclass(slots=True, eq=False)
class _Node:
    """A scalar (``text``), a list (``items``) or a section (``pairs``) and where it stands."""

    at: tuple[int, int]
    tag: str | None = None
    quoted: bool = False
    text: str | None = None
    items: "list[_Node] | None" = None
    pairs: "list[tuple[_Node, _Node]] | None" = None


class _Composer:
    """Node tree from parser events, kept even when the text breaks off half way."""

    def __init__(self) -> None:
        self.root: _Node | None = None
        self.refused: list[tuple[tuple[int, int], str]] = []
        self._open: list[_Node] = []
        self._keys: list[_Node | None] = []
        self._anchors: dict[str, _Node] = {}

    @property
    def innermost(self) -> _Node | None:
        """The list or section that was being read when the text broke off."""
        return self._open[-1] if self._open else None

    def take(self, event: yaml.Event) -> None:
        mark = event.start_mark
        at = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        match event:
            case yaml.ScalarEvent():
                quoted = event.style is not None
                self._add(_Node(at, event.tag, quoted, text=event.value), event.anchor)
            case yaml.AliasEvent():
                node = self._anchors.get(event.anchor or "")
                if node is None:
                    self.refused.append((at, f"alias *{event.anchor} has no anchor before it"))
                self._add(node or _Node(at, text=""), None)
            case yaml.SequenceStartEvent():
                self._begin(_Node(at, event.tag, items=[]), event.anchor)
            case yaml.MappingStartEvent():
                self._begin(_Node(at, event.tag, pairs=[]), event.anchor)
            case yaml.CollectionEndEvent():
                self._open.pop()
                self._keys.pop()
            case yaml.DocumentStartEvent() if self.root is not None:
                self.refused.append((at, "second document; one file holds one"))
            case _:
                pass

    def _begin(self, node: _Node, anchor: str | None) -> None:
        self._add(node, anchor)
        self._open.append(node)
        self._keys.append(None)

    def _add(self, node: _Node, anchor: str | None) -> None:
        if anchor is not None:
            self._anchors[anchor] = node
        if not self._open:
            self.root = self.root or node
            return
        parent, key = self._open[-1], self._keys[-1]
        if parent.items is not None:
            parent.items.append(node)
        elif key is None:
            self._keys[-1] = node
        elif parent.pairs is not None:
            parent.pairs.append((key, node))
            self._keys[-1] = None


class _Reader:
    """One pass over the parser's events, then one over the tree they make."""

    def __init__(self, path: Path, source: bytes, text: str) -> None:
        self._file = path
        self._source = source
        self._text = text
        self._problems: list[FileError] = []
        self._values: dict[Place, tuple[int, int]] = {}
        self._keys: dict[Place, tuple[int, int]] = {}
        self._tainted: set[Place] = set()
        self._count = 0
        self._complete = True
        self._broken: _Node | None = None

    def document(self) -> Document:
        tabs = self._refuse_tabs()
        root = self._compose(hide_syntax_error=tabs)
        data = None if root is None else self._plain(root, (), ())
        if root is None and not self._problems:
            self._problem((1, 1), (), "is empty")
        return Document(
            file=self._file,
            source=self._source,
            data=data,
            problems=tuple(sorted(set(self._problems), key=FileError.position)),
            complete=self._complete,
            values=self._values,
            keys=self._keys,
            tainted=frozenset(self._tainted),
        )

    def _problem(self, at: tuple[int, int], place: Place, message: str) -> None:
        self._problems.append(FileError(self._file, *at, dotted(place), message))
        if place:
            self._tainted.add(place)

    def _refuse_tabs(self) -> bool:
        for number, line in enumerate(self._text.split("\n"), start=1):
            if "\t" in line:
                col = line.index("\t") + 1
                self._problem((number, col), (), "tab character; use spaces")
        found = bool(self._problems)
        self._text = self._text.replace("\t", " ")
        return found

    def _compose(self, hide_syntax_error: bool) -> _Node | None:
        """The node tree up to the end or to the first syntax error."""
        composer = _Composer()
        try:
            for event in yaml.parse(self._text, Loader=yaml.SafeLoader):
                composer.take(event)
        except yaml.reader.ReaderError as failure:
            self._complete = False
            before = self._text[: failure.position]
            at = before.count("\n") + 1, len(before) - before.rfind("\n")
            self._problem(at, (), f"character {failure.character!r} is not allowed; remove it")
        except yaml.MarkedYAMLError as failure:
            self._complete = False
            mark = failure.problem_mark or failure.context_mark
            at = (mark.line + 1, mark.column + 1) if mark else (1, 1)
            # A tab used for indentation makes nonsense of what follows: fix it first.
            if not hide_syntax_error:
                context = f" ({failure.context})" if failure.context else ""
                self._problem(at, (), f"YAML syntax: {failure.problem}{context}")
        except (ValueError, OverflowError):
            # PyYAML turns "\U00110000" into chr() of a code point that does not exist.
            self._complete = False
            self._problem((1, 1), (), r"has a \U escape that is not a character")
        for at, message in composer.refused:
            self._problem(at, (), message)
        self._broken = composer.innermost
        return composer.root

    def _plain(self, node: _Node, place: Place, around: tuple[int, ...]) -> Any:
        self._values[place] = node.at
        self._count += 1
        if node is self._broken:
            self._tainted.add(place)
        if self._count > MAX_VALUES:
            if self._count == MAX_VALUES + 1:
                self._problem(node.at, place, f"more than {MAX_VALUES} values; nested aliases?")
            return None
        if id(node) in around or len(around) >= MAX_DEPTH:
            what = "alias of itself" if id(node) in around else f"deeper than {MAX_DEPTH} levels"
            self._problem(node.at, place, what)
            return None
        if node.tag not in {None, "!"}:
            self._problem(node.at, place, f"tag <{node.tag}> is not allowed; remove it")
        inside = (*around, id(node))
        if node.items is not None:
            return [self._plain(item, (*place, i), inside) for i, item in enumerate(node.items)]
        if node.pairs is not None:
            return self._mapping(node.pairs, place, inside)
        return self._scalar(node, place)

    def _scalar(self, node: _Node, place: Place) -> object:
        text = node.text or ""
        if node.quoted:
            if any("\ud800" <= char <= "\udfff" for char in text):
                self._problem(node.at, place, r"has a \u escape that is not a character")
                return ""
            return text
        try:
            return resolve(text)
        except Refused as refused:
            self._problem(node.at, place, str(refused))
            return refused.meaning

    def _mapping(
        self, pairs: list[tuple[_Node, _Node]], place: Place, inside: tuple[int, ...]
    ) -> dict[str | int, Any]:
        result: dict[str | int, Any] = {}
        for key_node, value_node in pairs:
            key = self._key(key_node)
            if key is None:
                continue
            here = (*place, key)
            if key in result:
                line, col = self._keys[here]
                message = f"duplicate key; first at line {line} column {col}"
                self._problems.append(FileError(self._file, *key_node.at, dotted(here), message))
                continue
            self._keys[here] = key_node.at
            result[key] = self._plain(value_node, here, inside)
        return result

    def _key(self, node: _Node) -> str | int | None:
        """The key, or ``None`` when it was refused."""
        before = len(self._problems)
        if node.text is None:
            self._problem(node.at, (), "a key must be a word, not a list or a section")
            return None
        if node.text == "<<" and not node.quoted:
            self._problem(node.at, (), "merge key << is not supported; repeat the keys")
            return None
        value = self._scalar(node, ())
        if len(self._problems) > before:
            return None
        if isinstance(value, bool) or not isinstance(value, str | int):
            self._problem(node.at, (), f"key {node.text!r} must be a word or a whole number")
            return None
        return value
