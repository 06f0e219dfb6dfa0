"""Mistakes in a recipe as one line: the key, its value, what is allowed there, and what was probably meant."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError

from pipeline.planning.recipe_keys import keys_of_settings
from pipeline.planning.renamed_keys import new_name
from pipeline.planning.setting_types import any_of, kinds_of, model_of_kind, models_in, nested_metadata, type_text
from pipeline.storage.retry import redacted


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`` (did you mean 'x'?)`` where one of the known words is close, else nothing."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" (did you mean '{close[0]}'?)" if close else ""


@dataclass(frozen=True)
class _Step:
    """One part of the path to a mistake. annotation, limits: of what it leads to; is_kind: pydantic inserted it, not the user."""

    part: int | str
    annotation: object
    limits: Sequence[object] = ()
    is_kind: bool = False

    @property
    def settings(self) -> type[BaseModel] | None:
        """The settings class, where the part leads to one."""
        models = models_in(self.annotation)
        return models[0] if len(models) == 1 else None

    @property
    def names(self) -> object:
        """The type of the names of a mapping."""
        return get_args(self.annotation)[0] if get_origin(self.annotation) is dict else None

    @property
    def type(self) -> str:
        """What may stand there, in words."""
        return type_text(self.annotation, self.limits) if self.annotation is not None else "another name"


def mistake_text(model: type[BaseModel], error: ValidationError) -> str:
    """The first mistake of a recipe in one line, which shows no password and no sentence of pydantic."""
    first = error.errors()[0]
    kind, steps = str(first["type"]), _steps(model, first["loc"])
    key, last = _key(steps), steps[-1]
    if kind == "value_error":  # our own sentence, of a validator
        return ": ".join([*filter(None, [key]), str(first["ctx"]["error"])])
    if kind == "plugin":  # in the settings of a plug-in, whose class is known only since the recipe names it
        return f"{key}: plug-in '{first['input'] if isinstance(first['input'], str) else first['input']['kind']}': " + (
            mistake_text(first["ctx"]["settings"], first["ctx"]["error"])
        )
    if kind == "extra_forbidden":
        return _unknown_key(model, steps)
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return _wrong_kind(key, last.annotation, first["input"])
    if kind == "missing":
        return f"{key} is missing: give {last.type}"
    return f"{key} = {_without_users(repr(first['input']))}: give {last.type}{_close_choice(last, first['input'])}"


def _unknown_key(model: type[BaseModel], steps: Sequence[_Step]) -> str:
    key, last = _key(steps), str(steps[-1].part)
    if new := new_name(key):
        return f"unknown key '{key}': it is now '{new}', as its library has it"
    owner = steps[-2].settings
    siblings = sorted(owner.model_fields) if owner is not None else []
    hint = did_you_mean(last, siblings)
    if not hint:
        rows = (re.sub(r"\(.*?\)", "", row.name) for row in keys_of_settings(model))
        hint = next((f" (did you mean '{name}'?)" for name in rows if name.rpartition(".")[2] == last), "")
    return f"unknown key '{key}'{hint}; allowed here: {', '.join(siblings) or 'nothing'}"


def _wrong_kind(key: str, annotation: object, given: object) -> str:
    kinds = kinds_of(annotation)
    kind = given.get("kind") if isinstance(given, Mapping) else given
    kinds += [name for role, name in _plugins() if role == key.rpartition(".")[2]]
    hint = did_you_mean(str(kind), kinds)
    return f"{key} = {_without_users(repr(kind))}: give {any_of(kinds)}{hint}, or a plug-in as package.module:Name"


def _plugins() -> list[tuple[str, str]]:
    """(role, kind) of the plug-ins that are installed."""
    names = (point.name.partition(".") for point in entry_points(group="procrop_data.backends"))
    return [(role, kind) for role, _, kind in names]


def _close_choice(step: _Step, given: object) -> str:
    choices = get_args(step.annotation) if get_origin(step.annotation) is Literal else ()
    return did_you_mean(str(given), [choice for choice in choices if isinstance(choice, str) and choice])


def _without_users(text: str) -> str:
    """A value as an error shows it: without the user and password of an address."""
    return re.sub(r"(://)[^/\s@'\"]+@", r"\1***@", redacted(text))


def _steps(model: type[BaseModel], loc: Sequence[int | str]) -> list[_Step]:
    """The steps from the recipe to a mistake; pydantic inserts the chosen ``kind`` between a role and its keys."""
    steps = [_Step("", model, is_kind=True)]
    for part in loc:
        # pydantic ends with "[key]" where the name of the step before is wrong
        steps.append(_next(steps[-1], part) if part != "[key]" else _Step(part, steps[-2].names, is_kind=True))
    return steps


def _next(step: _Step, part: int | str) -> _Step:
    if (chosen := model_of_kind(step.annotation, part)) is not None and not step.is_kind:
        return _Step(part, chosen, is_kind=True)
    if step.settings is not None:
        field = step.settings.model_fields.get(str(part))
        return _Step(part, field.annotation, field.metadata) if field is not None else _Step(part, None)
    inner = get_args(step.annotation)
    if get_origin(step.annotation) is tuple:
        return _Step(part, inner[0], list(nested_metadata(inner[0])))
    return (
        _Step(part, inner[1], list(nested_metadata(inner[1])))
        if get_origin(step.annotation) is dict
        else _Step(part, None)
    )


def _key(steps: Sequence[_Step]) -> str:
    """The path of a wrong key as the user wrote it."""
    return ".".join(str(step.part) for step in steps if not step.is_kind)
