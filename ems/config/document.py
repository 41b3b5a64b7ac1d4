"""The reference page of the site file, written from its schema.

``python -m ems.config.document > docs/reference/site-file.md``
"""

import sys
import typing
from collections.abc import Iterator
from enum import StrEnum
from typing import Any

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from ems.config import schema
from ems.yamlfile import members

HEAD = """# Site file

<!-- Written by `python -m ems.config.document`; do not edit by hand. -->

One YAML file says everything about a site. `ems check SITE` reports every mistake in it at
once, each with file, line and column, and judges what its numbers promise. How to write one
step by step: [write a site file](../howto/write-a-site-file.md). What changed between
versions: [config changes](config-changes.md).

The unit is the last token of a key. Unknown and duplicate keys are errors, and so is whatever
YAML readers disagree about: bare `on`, `off`, `yes` and `no`, `12:30`, `0123`, `1_000`, tabs,
tags and merge keys. Text that looks like a number goes in quotes. Relative paths start from the
directory of the site file, except `storage.data_dir`. Secrets are never in this file: name
an environment variable instead.
"""
_UNITS = {
    "kw": "kW",
    "kw_per_s": "kW/s",
    "pct": "%",
    "v": "V",
    "a": "A",
    "ah": "Ah",
    "hz": "Hz",
    "s": "s",
    "min": "min",
    "hours": "h",
    "c": "°C",
    "mohm": "mΩ",
}
_PRIMITIVE = {bool: "true or false", int: "whole number", float: "number", str: "text"}


def page() -> str:
    """The whole reference page as Markdown."""
    return "\n".join([HEAD, *_section("", schema.SiteFile, "")]) + "\n"


def _section(path: str, model: type[BaseModel], intro: str) -> Iterator[str]:
    """A table of the model's keys, then one section for each model inside it."""
    yield f"## {f'`{path}`' if path else 'Sections'}\n"
    if intro:
        yield intro + "\n"
    yield "| key | what | value | default |"
    yield "|---|---|---|---|"
    inner: list[tuple[str, type[BaseModel]]] = []
    for name, info in model.model_fields.items():
        child, suffix = _child(info.annotation)
        if child is not None:
            inner.append((f"{path}.{name}{suffix}" if path else f"{name}{suffix}", child))
        yield f"| `{name}` | {info.description} | {_value(name, info)} | {_default(info)} |"
    yield ""
    for where, child in inner:
        yield from _section(where, child, (child.__doc__ or "").strip())


def _child(annotation: Any) -> tuple[type[BaseModel] | None, str]:
    """The model inside an annotation, and how its place is written."""
    for member in members(annotation):
        if isinstance(member, type) and issubclass(member, BaseModel):
            return member, ""
        arguments = typing.get_args(member)
        if typing.get_origin(member) is dict and _child(arguments[1])[0] is not None:
            return _child(arguments[1])[0], ".<id>"
        if typing.get_origin(member) is tuple and _child(arguments[0])[0] is not None:
            return _child(arguments[0])[0], "[]"
    return None, ""


def _value(name: str, info: FieldInfo) -> str:
    kinds = [m for m in members(info.annotation) if m is not type(None)]
    words = " or ".join(_kind(kind) for kind in kinds)
    unit = _unit(name)
    limits = _limits(info, kinds)
    return words + (f", {unit}" if unit else "") + (f", {limits}" if limits else "")


def _unit(name: str) -> str:
    tokens = name.split("_")
    for start in range(len(tokens)):
        unit = _UNITS.get("_".join(tokens[start:]))
        if unit:
            return unit
    return ""


def _kind(kind: Any) -> str:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return " / ".join(f"`{value}`" for value in arguments)
    if origin is tuple:
        return f"list of {'sections' if _child(kind)[0] else _kind(next(members(arguments[0])))}"
    if origin is dict:
        inside = "sections" if _child(kind)[0] else _kind(next(members(arguments[1])))
        return f"{inside} by name"
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return " / ".join(f"`{value}`" for value in kind)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return "section"
    return _PRIMITIVE.get(kind, "date, YYYY-MM-DD")


def _limits(info: FieldInfo, kinds: list[Any]) -> str:
    """Bounds of a number; of text and lists the schema's own error says enough."""
    if not set(kinds) & {int, float}:
        return ""
    bounds = [*info.metadata, *_inner_metadata(info.annotation)]
    words = []
    for bound in bounds:
        match bound:
            case annotated_types.Ge(ge=value):
                words.append(f"≥ {value}")
            case annotated_types.Gt(gt=value):
                words.append(f"> {value}")
            case annotated_types.Le(le=value):
                words.append(f"≤ {value}")
            case _:
                pass
    return " and ".join(words)


def _inner_metadata(annotation: Any) -> Iterator[Any]:
    """Constraints of ``Annotated`` members inside a union."""
    for argument in typing.get_args(annotation):
        for item in getattr(argument, "__metadata__", ()):
            yield from getattr(item, "metadata", ())


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    if info.default is PydanticUndefined or info.default in (None, (), ""):
        return "—"
    if isinstance(info.default, bool):
        return f"`{str(info.default).lower()}`"
    if isinstance(info.default, float):
        return f"`{info.default:g}`"
    return f"`{info.default}`"


if __name__ == "__main__":
    sys.stdout.write(page())
