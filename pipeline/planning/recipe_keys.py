"""Every key of a recipe with value, default, type and meaning, read from the settings classes and their docstrings."""

import inspect
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from pipeline.core.json_types import Json
from pipeline.planning.setting_types import has_kind, models_in, type_of, value_text

_ARGUMENT = re.compile(r"^    (\w+(?:, \w+)*): ", re.MULTILINE)


@dataclass(frozen=True)
class RecipeKey:
    """One key of a recipe.

    Args:
        name: dotted, as in an override.
        value: in the recipe, as an override states it; empty where no recipe is given.
        default: of the settings class; empty for a key without one.
        type: what it may be, in words.
        meaning: the sentence of its docstring.
    """

    name: str
    value: str
    default: str
    type: str
    meaning: str

    @property
    def is_changed(self) -> bool:
        """Whether the recipe gives another value than the default."""
        return self.value != self.default

    def as_json(self) -> dict[str, Json]:
        """A row of ``config show --json``."""
        return asdict(self)


def keys_of_recipe(recipe: BaseModel) -> list[RecipeKey]:
    """The keys that a recipe has, in order; of its models those of the chosen kinds."""
    return list(_walk(type(recipe), recipe, ()))


def keys_of_settings(settings: type[BaseModel], path: Sequence[str] = ()) -> list[RecipeKey]:
    """The keys of a settings class, without values, and of each backend that may be chosen (``models.scorer(laion).keep``)."""
    return list(_walk(settings, None, tuple(path)))


def meanings_of(settings: type[BaseModel]) -> dict[str, str]:
    """What each setting of a class means: the ``Args`` of its docstring and of its bases."""
    found: dict[str, str] = {}
    for base in reversed(settings.__mro__):
        if issubclass(base, BaseModel) and base is not BaseModel:
            found |= _arguments(inspect.cleandoc(base.__doc__ or ""))
    return found


def first_sentence(settings: type[BaseModel]) -> str:
    """What a settings class is for: the first sentence of its docstring."""
    text = " ".join(inspect.cleandoc(settings.__doc__ or "").split("\n\n")[0].split())
    return text.split(". ")[0].rstrip(".")


def _arguments(docstring: str) -> dict[str, str]:
    _, _, arguments = docstring.partition("Args:\n")
    _, *parts = _ARGUMENT.split(arguments)
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return {name: " ".join(text.split()) for names, text in pairs for name in names.split(", ")}


def _walk(
    settings: type[BaseModel], chosen: BaseModel | None, path: tuple[str, ...], kind: str = ""
) -> Iterator[RecipeKey]:
    """Keys of a settings class and of what is nested in it. kind: of the backend that its role has by default."""
    meanings, standard = meanings_of(settings), _standard(settings, chosen)
    for name, field in settings.model_fields.items():
        value = getattr(chosen, name) if chosen is not None else None
        models = _models(field, value, chosen)
        if not models:
            shown = "" if chosen is None else _text(chosen, name)
            default = kind if name == "kind" and kind else _default(field, standard, name)
            yield RecipeKey(".".join((*path, name)), shown, default, type_of(field), meanings.get(name, ""))
        for model in models:
            inner = value if isinstance(value, BaseModel) else None
            yield from _walk(model, inner, _path(path, name, model, models), getattr(field.default, "kind", ""))


def _models(field: FieldInfo, value: object, chosen: BaseModel | None) -> list[type[BaseModel]]:
    if chosen is not None:
        return [type(value)] if isinstance(value, BaseModel) else []
    return models_in(field.annotation)


def _path(path: tuple[str, ...], name: str, model: type[BaseModel], models: Sequence[object]) -> tuple[str, ...]:
    if len(models) == 1 or not has_kind(model):
        return (*path, name)
    return (*path, f"{name}({get_args(model.model_fields['kind'].annotation)[0]})")


def _standard(settings: type[BaseModel], chosen: BaseModel | None) -> BaseModel | None:
    """The settings as their class, and for a backend its kind, make them; None where something must be given."""
    try:
        return settings.model_validate({"kind": getattr(chosen, "kind", "")} if has_kind(settings) and chosen else {})
    except ValidationError:
        return None


def _default(field: FieldInfo, standard: BaseModel | None, name: str) -> str:
    if standard is not None:
        return _text(standard, name)
    return "" if field.is_required() else value_text(_plain(field.get_default(call_default_factory=True)))


def _text(settings: BaseModel, name: str) -> str:
    return value_text(settings.model_dump(mode="json", include={name})[name])


def _plain(value: object) -> object:
    return list(map(_plain, value)) if isinstance(value, tuple) else value
