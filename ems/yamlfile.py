"""Strict YAML files that say where they are wrong: ``file:line:col: path: message``.

Site files, device profiles and tariffs are written by hand, often at night on a
laptop beside a cabinet. So nothing is guessed: whatever YAML 1.1 would quietly
reinterpret is refused with the fix named, every mistake is reported at once, and
every one carries its position. How the text becomes data is the business of
``ems.yamltext``; this module holds the data to a pydantic model.

Models are validated as strict JSON: a number in quotes is not a number, ``true``
is not 1, while dates, paths and enums are read from text.
"""

import json
import re
import typing
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from ems.yamltext import Document, FileError, FileErrors, Place, dotted, parse

__all__ = [
    "Document",
    "FileError",
    "FileErrors",
    "Place",
    "check",
    "dotted",
    "load_model",
    "members",
    "nearest",
    "parse",
    "read",
    "validate",
]

ModelT = TypeVar("ModelT", bound=BaseModel)

_SHOWN_CHARS: Final = 60
_NOUN: Final = re.compile(r"^(Input|String|List|Tuple|Value|Dictionary) should")
_WORDS: Final = {
    "missing": "is missing",
    "bool_type": "must be true or false",
    "float_type": "must be a number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "string_type": "must be text; put quotes around it",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "dict_type": "must be a section of keys and values",
    "model_type": "must be a section of keys and values",
    "model_attributes_type": "must be a section of keys and values",
    "date_type": "must be a date, YYYY-MM-DD",
    "date_parsing": "must be a date, YYYY-MM-DD",
    "date_from_datetime_parsing": "must be a date, YYYY-MM-DD",
    "path_type": "must be the path of a file, as text",
    "none_required": "must be left empty",
}


def read(path: Path) -> Document:
    """The document in ``path``: plain data with the position of every key and value.

    Raises:
        FileErrors: everything wrong with the text, all at once.
    """
    document = parse(path)
    if document.problems:
        raise FileErrors(document.problems)
    return document


def load_model(path: Path, model: type[ModelT]) -> ModelT:
    """The file at ``path`` as an instance of ``model``.

    Raises:
        FileErrors: everything wrong with the text and with the values, all at once.
    """
    return validate(parse(path), model)


def validate(document: Document, model: type[ModelT]) -> ModelT:
    """The document's data as an instance of ``model``.

    Raises:
        FileErrors: the document's own problems and every validation error.
    """
    value, errors = check(document, model)
    if value is None or errors:
        raise FileErrors(errors)
    return value


def check(document: Document, model: type[ModelT]) -> tuple[ModelT | None, tuple[FileError, ...]]:
    """The validated model, if the values allow one, and every error in file order.

    The text's own problems come first in mind: a value they already complain about
    is not complained about twice, and of a file that breaks off nothing is called
    missing, because it may stand behind the break.
    """
    value: ModelT | None = None
    errors = list(document.problems)
    if document.data is None and errors:
        return None, tuple(errors)
    try:
        value = model.model_validate_json(json.dumps(document.data), strict=True)
    except ValidationError as failure:
        for detail in failure.errors():
            path, at_key = _path_of(document, detail)
            reported = document.is_tainted(path[:-1] if at_key else path)
            unseen = not document.complete and _of_absence(detail)
            if reported or unseen or _of_bad_items(detail):
                continue
            errors.append(document.error(path, _message(detail, model), at_key=at_key))
    return value, tuple(sorted(set(errors), key=FileError.position))


def nearest(word: object, choices: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` for the closest choice, or the choices when none is close."""
    known = sorted(choices)
    close = get_close_matches(str(word), known, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known here: {', '.join(known)}" if known else ""


def _of_absence(detail: ErrorDetails) -> bool:
    return detail["type"] == "missing" or detail["input"] is None


def _of_bad_items(detail: ErrorDetails) -> bool:
    """Whether a list is called too short only because its items were refused themselves."""
    return detail["type"] == "too_short" and len(detail["input"]) >= detail["ctx"]["min_length"]


def _path_of(document: Document, detail: ErrorDetails) -> tuple[Place, bool]:
    """Where an error belongs in the file, and whether its key is the culprit.

    Pydantic mixes the names of union members into its locations; whatever is not
    in the data is skipped, except the name of a missing key at the end.
    """
    path: list[str | int] = []
    node: Any = document.data
    at_key = detail["type"] == "extra_forbidden"
    for depth, token in enumerate(detail["loc"]):
        keys = {str(key): key for key in node} if isinstance(node, dict) else {}
        if str(token) in keys:
            path.append(keys[str(token)])
            node = node[keys[str(token)]]
        elif isinstance(node, list) and isinstance(token, int) and token < len(node):
            path.append(token)
            node = node[token]
        elif token == "[key]":
            at_key = True
        elif depth == len(detail["loc"]) - 1 and detail["type"] == "missing":
            path.append(token)
    return tuple(path), at_key


def _message(detail: ErrorDetails, model: type[BaseModel]) -> str:
    kind = detail["type"]
    if kind == "extra_forbidden":
        keys = {key for found in _models_at(model, detail["loc"][:-1]) for key in _keys(found)}
        return f"unknown key{nearest(detail['loc'][-1], keys)}"
    if kind == "missing":
        return _WORDS[kind] + _described(model, detail["loc"])
    if kind in {"value_error", "assertion_error"}:
        words = str(detail["ctx"]["error"])
    elif kind in {"enum", "literal_error"}:
        words = f"must be one of {detail['ctx']['expected']}"
    else:
        words = _WORDS.get(kind) or _NOUN.sub("must", detail["msg"], count=1)
    return f"{words}, found {_shown(detail['input'])}"


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "a section"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "nothing"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "…"


def _described(model: type[BaseModel], loc: tuple[str | int, ...]) -> str:
    for found in _models_at(model, loc[:-1]):
        for name, info in found.model_fields.items():
            if loc[-1] in {info.alias or name, name} and info.description:
                return f": {info.description.strip().splitlines()[0]}"
    return ""


def _keys(model: type[BaseModel]) -> Iterator[str]:
    for name, info in model.model_fields.items():
        yield info.alias or name


def _models_at(model: type[BaseModel], loc: tuple[str | int, ...]) -> list[type[BaseModel]]:
    """The models that may stand at a location; several where a union is not decided."""
    here: list[Any] = [model]
    for token in loc:
        step = [found for item in here for found in _step(item, token)]
        if step:  # else the token names a union member, and we are already there
            here = [member for item in step for member in members(item)]
    return [item for item in here if isinstance(item, type) and issubclass(item, BaseModel)]


def members(annotation: Any) -> Iterator[Any]:
    """The annotation without ``Annotated``, ``Optional`` and unions around it."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        yield from members(typing.get_args(annotation)[0])
    elif origin in {typing.Union, UnionType}:
        for item in typing.get_args(annotation):
            yield from members(item)
    else:
        yield annotation


def _step(annotation: Any, token: str | int) -> Iterator[Any]:
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, info in annotation.model_fields.items():
            if token in {info.alias or name, name}:
                yield info.annotation
    elif isinstance(origin, type) and issubclass(origin, Mapping) and len(args) == 2:
        yield args[1]
    elif isinstance(origin, type) and args and isinstance(token, int):
        yield args[0]
