"""Recipes: YAML files, named (``demo``) or given as a path, with ``base:`` inheritance and ``key=value`` overrides."""

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from pipeline.core.errors import UsageError
from pipeline.core.json_types import Json
from pipeline.core.resources import bundled
from pipeline.planning.recipe_errors import did_you_mean, mistake_text
from pipeline.planning.renamed_keys import with_new_names
from pipeline.planning.setting_types import choices_of

ModelT = TypeVar("ModelT", bound=BaseModel)
MAX_DEPTH = 8  # of ``base:`` inheritance
# Settings that earlier versions had. A run directory that records one stays readable; a recipe file that has one is refused.
REMOVED = ("models.outpainter.max_side",)


class _DoubledKeyError(yaml.MarkedYAMLError):
    """A mapping has a key twice; PyYAML would keep the last value in silence."""

    def __init__(self, key: str, mark: yaml.Mark) -> None:
        super().__init__(problem_mark=mark)
        self.key = key


class _UniqueKeys(yaml.SafeLoader):
    """Plain values only, and no key twice in a mapping."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                raise _DoubledKeyError(key.value, key.start_mark)
            if isinstance(key.value, str):
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def recipe_names() -> list[str]:
    """Names of the bundled recipes."""
    return sorted(path.stem for path in bundled("configs").glob("*.yaml"))


def find_recipe(name: str) -> Path:
    """The file of a recipe; raises UsageError that lists the known names."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        if path.is_file():
            return path
        raise UsageError(f"config file '{name}' does not exist")
    bundled_path = bundled("configs") / f"{name}.yaml"
    if not bundled_path.is_file():
        known = recipe_names()
        hint = did_you_mean(name, known)
        raise UsageError(f"no config named '{name}'{hint}: known are {', '.join(known)}; or give a path to a .yaml")
    return bundled_path


def read_recipe_mapping(name: str, depth: int = 0) -> dict[str, Json]:
    """A recipe merged into the recipes that its ``base`` names, as a mapping."""
    path = find_recipe(name)
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), _UniqueKeys) or {}
    except _DoubledKeyError as error:
        raise UsageError(f"config '{path}': '{error.key}' is there twice{_place_of(error)}; keep one") from error
    except yaml.YAMLError as error:
        raise UsageError(f"config '{path}' is not valid YAML{_place_of(error)}") from error
    if not isinstance(data, dict):
        raise UsageError(f"config '{path}' must be a mapping of keys, not a {type(data).__name__}")
    base = data.pop("base", None)
    if base is None:
        return data
    if depth >= MAX_DEPTH:
        raise UsageError(f"config '{path}': 'base' is nested {MAX_DEPTH} deep: does a recipe name itself as its base?")
    return merge(read_recipe_mapping(str(base), depth + 1), data)


def merge(base: Mapping[str, Json], over: Mapping[str, Json]) -> dict[str, Json]:
    """``base`` updated with ``over``, recursively for mappings; neither is changed."""
    out = dict(base)
    for key, value in over.items():
        mine = out.get(key)
        if isinstance(value, str) and isinstance(mine, Mapping) and "kind" in mine:
            value = {"kind": value}  # ``models.scorer=laion``
        elif isinstance(mine, str) and isinstance(value, Mapping):
            mine = {"kind": mine}
        if isinstance(mine, Mapping) and isinstance(value, Mapping) and _same_kind(mine, value):
            out[key] = merge(mine, value)
        else:
            out[key] = value
    return out


def _same_kind(mine: Mapping[str, Json], over: Mapping[str, Json]) -> bool:
    """Whether both are of one ``kind``: a backend of another kind has other parameters, which must not be inherited."""
    return bool(over.get("kind", mine.get("kind")) == mine.get("kind"))


def without_removed(data: Mapping[str, Json]) -> dict[str, Json]:
    """A recorded recipe without the settings that are no longer there, and the others by their present names; a new mapping."""
    kept = dict(data)
    for name in REMOVED:
        kept = _without(kept, name.split("."))
    return with_new_names(kept)


def _without(data: Mapping[str, Json], path: Sequence[str]) -> dict[str, Json]:
    first, *inner = path
    value = data.get(first)
    if inner and isinstance(value, Mapping):
        return {**data, first: _without(value, inner)}
    return dict(data) if inner else {key: value for key, value in data.items() if key != first}


def override(
    data: Mapping[str, Json], assignments: Sequence[str], model: type[BaseModel] | None = None
) -> dict[str, Json]:
    """``data`` updated with ``a.b=value`` assignments. Values are YAML, except of settings that are text in ``model``: there the
    value is taken as it is written, so that ``2024``, ``sub #2`` and ``*.jpg`` are names. Raises UsageError.
    """
    for text in assignments:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"'{text}' is not an override: write key=value, for example outpaint.variants=4")
        first, *inner = name.split(".")
        is_text = model is not None and _is_text(model, [first, *inner]) and not _is_quoted(value)
        nested: Json = value if is_text else _from_yaml(text, value)
        for part in reversed(inner):
            nested = {part: nested}
        data = merge(data, {first: nested})
    return dict(data)


def _from_yaml(text: str, value: str) -> Json:
    try:
        parsed: Json = yaml.load(value, _UniqueKeys)
    except _DoubledKeyError as error:
        raise UsageError(f"'{text}': '{error.key}' is there twice; keep one") from error
    except yaml.YAMLError as error:
        raise UsageError(f"'{text}': the value is not valid YAML; quote it, for example '{_quoted(text)}'") from error
    return parsed


def _quoted(text: str) -> str:
    name, _, value = text.partition("=")
    return f'{name}="{value}"'


def _place_of(error: yaml.YAMLError) -> str:
    """Where a file cannot be read."""
    mark = getattr(error, "problem_mark", None)
    return f": see line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""


def _is_quoted(value: str) -> bool:
    return len(value) > 1 and value[0] == value[-1] and value[0] in "'\""


def _is_text(model: type[BaseModel], path: Sequence[str]) -> bool:
    """Whether a setting is text, in every backend that has a setting of this path."""
    kinds: list[object] = [model]
    for part in path:
        fields = [kind.model_fields for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        kinds = [kind for named in fields if part in named for kind in choices_of(named[part].annotation)]
    return bool(kinds) and all(kind is str for kind in kinds)


def parse(model: type[ModelT], data: Mapping[str, Json], origin: str) -> ModelT:
    """A validated recipe; raises UsageError naming the first wrong key, its value and what is allowed."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        # The cause is left out: its text holds the value, which may be a password.
        raise UsageError(f"config {origin}: {mistake_text(model, error)}") from None
