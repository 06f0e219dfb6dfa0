"""Types of settings in words: what a value may be, for ``config show`` and for errors."""

import json
from collections.abc import Iterable, Iterator, Sequence
from types import NoneType, UnionType
from typing import Annotated, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

WORDS: dict[object, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
MANY = {int: "whole numbers", float: "numbers", str: "texts"}
COUNTS = {2: "two", 3: "three", 4: "four"}


def choices_of(annotation: object) -> list[object]:
    """The types that an annotation allows: the members of a union, without what ``Annotated`` adds."""
    if get_origin(annotation) in (Union, UnionType, Annotated):
        members = get_args(annotation)[:1] if get_origin(annotation) is Annotated else get_args(annotation)
        return [kind for member in members for kind in choices_of(member)]
    return [annotation]


def models_in(annotation: object) -> list[type[BaseModel]]:
    """The settings classes among ``choices_of``."""
    return [kind for kind in choices_of(annotation) if isinstance(kind, type) and issubclass(kind, BaseModel)]


def kinds_of(annotation: object) -> list[str]:
    """The names of the backends that a role allows; empty for a setting that is none."""
    kinds = [get_args(model.model_fields["kind"].annotation) for model in models_in(annotation) if has_kind(model)]
    return [str(kind) for names in kinds for kind in names]


def has_kind(model: type[BaseModel]) -> bool:
    """Whether a settings class is that of a backend."""
    return "kind" in model.model_fields


def model_of_kind(annotation: object, kind: object) -> type[BaseModel] | None:
    """The settings class of a role that a ``kind`` chooses; None for an unknown one."""
    with_kind = (model for model in models_in(annotation) if has_kind(model))
    return next((model for model in with_kind if kind in get_args(model.model_fields["kind"].annotation)), None)


def type_of(field: FieldInfo) -> str:
    """What a setting may be: ``a whole number, 1 to 99``."""
    return type_text(field.annotation, field.metadata)


def type_text(annotation: object, metadata: Iterable[object] = ()) -> str:
    """The same of an annotation and its limits."""
    metadata = list(metadata)
    if get_origin(annotation) is Annotated:
        inner, *added = get_args(annotation)
        nested = [one for item in added for one in (item.metadata if isinstance(item, FieldInfo) else [item])]
        return type_text(inner, [*metadata, *nested])
    if kinds := kinds_of(annotation):
        return f"a backend: {any_of(kinds)}"
    if models_in(annotation):
        return "a mapping of settings"
    return ", ".join([_plain(annotation), *limits_of(metadata)])


def _plain(annotation: object) -> str:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return any_of(["nothing" if value == "" else str(value) for value in inner])
    if origin is dict:
        return f"a mapping of {_keys(inner[0])} to {type_text(inner[1]).removeprefix('a ')}"
    if origin is tuple:
        return _tuple(inner)
    members = choices_of(annotation)
    if len(members) > 1:
        return " or ".join("null" if kind is NoneType else type_text(kind) for kind in members)
    return WORDS.get(annotation, "a value")


def _keys(annotation: object) -> str:
    return any_of(get_args(annotation)) if get_origin(annotation) is Literal else "names"


def _tuple(inner: Sequence[object]) -> str:
    first, *_ = inner
    kind, *_ = choices_of(first)
    many = "backends" if kinds_of(first) else MANY.get(kind, "values")  # type: ignore[call-overload]
    count = "a list of" if Ellipsis in inner else COUNTS.get(len(inner), str(len(inner)))
    limits = limits_of(nested_metadata(first))
    return f"{count} {many}" + (f", each {', '.join(limits)}" if limits else "")


def nested_metadata(annotation: object) -> Iterator[object]:
    """The limits that ``Annotated`` adds."""
    for item in get_args(annotation)[1:] if get_origin(annotation) is Annotated else ():
        yield from item.metadata if isinstance(item, FieldInfo) else [item]


def limits_of(metadata: Iterable[object]) -> list[str]:
    """Limits of a value in words."""
    found: dict[str, float | str] = {}
    for item in metadata:
        names = ("ge", "gt", "le", "lt", "multiple_of", "min_length", "max_length", "pattern")
        found |= {name: getattr(item, name) for name in names if getattr(item, name, None) is not None}
    texts = [_range(found)] if {"ge", "gt", "le", "lt"} & set(found) else []
    texts += [f"a multiple of {found['multiple_of']}"] if "multiple_of" in found else []
    texts += ["not empty"] if found.get("min_length") == 1 else []
    texts += [f"of at most {found['max_length']} characters"] if "max_length" in found else []
    texts += [f"of the characters {_characters(str(found['pattern']))}"] if "pattern" in found else []
    return texts


def _range(found: dict[str, float | str]) -> str:
    low, high = found.get("ge", found.get("gt")), found.get("le", found.get("lt"))
    if high is None:
        return f"{low:,} or more" if "ge" in found else f"above {low:,}"
    if low is None:
        return f"{high:,} or less" if "le" in found else f"below {high:,}"
    if "gt" in found:
        return f"above {low:,}, {'at most' if 'le' in found else 'below'} {high:,}"
    return f"{low:,} to {high:,}" if "le" in found else f"{low:,} or more, below {high:,}"


def _characters(pattern: str) -> str:
    return pattern.removeprefix("^[").removesuffix("]+$")


def any_of(words: Iterable[object]) -> str:
    """``a, b or c``."""
    *most, last = [str(word) for word in words]
    return f"{', '.join(most)} or {last}" if most else last


def value_text(value: object) -> str:
    """A value as a recipe or an override may state it."""
    if isinstance(value, str):
        return value if value and value == value.strip() and not set(value) & set("'\"#\n") else json.dumps(value)
    return json.dumps(value, ensure_ascii=False)
