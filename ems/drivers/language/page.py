"""The reference page of the profile language, written from its models."""

import inspect
import typing
from collections.abc import Iterator
from enum import StrEnum
from typing import Any, Final

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from ems.drivers.language.base import (
    CONVERTER_POINTS,
    METER_POINTS,
    PACK_POINTS,
    UNIT_OF_TOKEN,
)
from ems.drivers.language.files import load, shipped
from ems.drivers.language.profile import Profile
from ems.drivers.language.prose import COMMANDS, HEAD, MEANING, MIGRATION, TAIL, TRUST
from ems.model import Contactor, ConverterState
from ems.yamlfile import members

_PRIMITIVE: Final = {
    "bool": "true or false", "int": "whole number", "float": "number", "str": "text",
    "Decimal": "decimal number",
}  # fmt: skip
_NOTES: Final = {"writes.<kind>": COMMANDS, "golden[]": TRUST}
"""What a table cannot say, by the section it follows."""


def page() -> str:
    """The whole reference page as Markdown."""
    done = set[type[BaseModel]]()
    parts = [HEAD, *_shipped(), "## The file\n", *_table(Profile)]
    for path, model in _inner("", Profile):
        parts += _section(path, model, done)
    return "\n".join([*parts, *_names(), TAIL, MIGRATION])


def _shipped() -> Iterator[str]:
    yield "## Shipped profiles\n"
    yield "| name | kind | speaks | what it is | maturity |"
    yield "|---|---|---|---|---|"
    for name in shipped():
        found = load(name)
        speaks = "OPC UA" if found.link.protocol == "opcua" else "Modbus"
        if found.link.sunspec_models:
            speaks += f", SunSpec {', '.join(str(model) for model in found.link.sunspec_models)}"
        what = f"{found.vendor}: {found.device}. {found.summary}"
        yield f"| `{name}` | {found.kind} | {speaks} | {what} | {found.maturity} |"
    yield ""
    yield MEANING


def _section(path: str, model: type[BaseModel], done: set[type[BaseModel]]) -> Iterator[str]:
    if model in done:
        return
    done.add(model)
    yield f"{'##' if path.count('.') < 2 and '[]' not in path[:-2] else '###'} `{path}`\n"
    yield f"{inspect.cleandoc(model.__doc__ or '')}\n"
    yield from _table(model)
    if path in _NOTES:
        yield _NOTES[path]
    for inner, child in _inner(path, model):
        yield from _section(inner, child, done)


def _table(model: type[BaseModel]) -> Iterator[str]:
    yield "| key | what | value | default |"
    yield "|---|---|---|---|"
    for name, info in model.model_fields.items():
        key = info.alias or name
        yield f"| `{key}` | {info.description} | {_value(info)} | {_default(info)} |"
    yield ""


def _inner(path: str, model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    for name, info in model.model_fields.items():
        place = f"{path}.{name}" if path else name
        for child, suffix in _models(info.annotation):
            yield place + suffix.format("kind" if name == "writes" else "name"), child


def _models(annotation: Any) -> Iterator[tuple[type[BaseModel], str]]:
    """Models inside an annotation, and how their place is written."""
    for member in members(annotation):
        origin, arguments = typing.get_origin(member), typing.get_args(member)
        if isinstance(member, type) and issubclass(member, BaseModel):
            yield member, ""
        elif origin is dict:
            yield from ((model, ".<{}>" + rest) for model, rest in _models(arguments[1]))
        elif origin is tuple:
            yield from ((model, "[]" + rest) for model, rest in _models(arguments[0]))


def _value(info: FieldInfo) -> str:
    kinds = [kind for kind in members(info.annotation) if kind is not type(None)]
    words = " or ".join(dict.fromkeys(_kind(kind) for kind in kinds))
    limits = _limits([*info.metadata, *_inner_metadata(info.annotation)])
    return words + (f", {limits}" if limits else "")


def _kind(kind: Any) -> str:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return " / ".join(f"`{value}`" for value in arguments)
    if origin is tuple and Ellipsis not in arguments:
        return f"[{', '.join(_kind(next(members(item))) for item in arguments)}]"
    if origin is tuple:
        inside = " or ".join(_kind(kind) for kind in members(arguments[0]))
        return f"list of {'sections' if inside == 'section' else inside}"
    if origin is list:
        items = [_kind(item) for item in members(arguments[0]) if item is not type(None)]
        return f"list of {' or '.join(items)}"
    if origin is dict:
        key = "number" if next(members(arguments[0])) is int else "name"
        inside = " or ".join(_kind(kind) for kind in members(arguments[1]) if kind is not None)
        return f"{'sections' if inside == 'section' else inside} by {key}"
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return " / ".join(f"`{value}`" for value in kind)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return "section"
    return _PRIMITIVE.get(getattr(kind, "__name__", ""), "empty")


def _limits(metadata: list[Any]) -> str:
    words = []
    for bound in metadata:
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
    if isinstance(info.default, tuple):
        return f"`[{', '.join(str(item) for item in info.default)}]`"
    return f"`{info.default}`"


def _names() -> Iterator[str]:
    yield "## Names with a meaning\n"
    yield "| kind | points |"
    yield "|---|---|"
    for kind, names in (
        ("pack", PACK_POINTS), ("converter", CONVERTER_POINTS), ("meter", METER_POINTS),
    ):  # fmt: skip
        yield f"| {kind} | {', '.join(f'`{name}`' for name in names)} |"
    yield (
        "\nA pack and a converter must have every one of theirs or explain it in `not_provided`; "
        "a meter has what it has. Any other name is yours: it is shown by `ems probe`, and rules "
        "of the profile may refer to it.\n"
    )
    tokens = ", ".join(f"`_{token}` {unit}" for token, unit in UNIT_OF_TOKEN.items())
    yield f"The last token of a name is its unit after scaling: {tokens}.\n"
    contactor = " ".join(code.name.lower() for code in Contactor)
    state = " ".join(code.name.lower() for code in ConverterState)
    yield (
        f"Words of an `enum` that are codes: `contactor` of a pack, and the point a contactor "
        f"command writes: `{contactor}`; `state` of a converter: `{state}` (`off` needs its quotes "
        "in YAML); `alarm_level` of a pack: `none info warn derate trip`. The words of any other "
        "`enum` are labels, and its value is the raw code.\n"
    )
