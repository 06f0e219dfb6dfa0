"""Writes the pages of ``docs/reference`` from the code (``make docs``)."""

import dataclasses
import inspect
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, get_args

import typer
from pydantic import BaseModel

from pipeline.app.crop_files import entries
from pipeline.app.recipe_for_run import recipe_for
from pipeline.cli.app import HELP, app
from pipeline.core import errors, records
from pipeline.planning.recipe_keys import RecipeKey, first_sentence, keys_of_settings, meanings_of
from pipeline.planning.setting_types import has_kind, models_in
from stages.drop_reasons import DROP_REASONS
from stages.recipe import Recipe, stages_of

FOLDER = Path(__file__).resolve().parent / "reference"
NOTE = "<!-- Written by docs/reference_pages.py: edit the code, then run `make docs`. -->\n\n"
FIRST = {
    "exit_codes": "Exit codes",
    "commands": "Commands",
    "recipe": "Recipe keys",
    "reasons": "Drop reasons",
    "records": "Record fields",
}


def pages() -> dict[str, str]:
    """Text of each page by file name."""
    bodies = {
        "commands": _commands(), "recipe": _recipe(), "reasons": _reasons(), "exit_codes": _exit_codes(), "records": _records()
    }  # fmt: skip
    return {f"{name}.md": f"# {FIRST[name]}\n\n{NOTE}{body.strip()}\n" for name, body in bodies.items()}


def write_pages() -> None:
    """Write all pages."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(_markdown(text).split()).replace("|", "\\|")


def _markdown(text: str) -> str:
    """Text of a docstring: code in single backticks, and nothing outside of code that HTML would take for a tag."""
    parts = text.replace("``", "`").split("`")
    return "`".join(part if number % 2 else part.replace("<", "&lt;") for number, part in enumerate(parts))


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _commands() -> str:
    group: Any = typer.main.get_command(app)
    parts = [
        "The option `--help` of a command prints the same. Every command knows `--debug`, which shows the traceback of an error.\n"
    ]
    for name, command in sorted(group.commands.items()):
        subcommands = getattr(command, "commands", None)
        for inner, one in sorted(subcommands.items()) if subcommands else [("", command)]:
            parts.append(_command(f"{name} {inner}".strip(), one))
    return "\n".join(parts)


def _command(name: str, command: Any) -> str:
    text = " ".join(inspect.cleandoc(command.help or "").split())
    rows = [(_names(one), _default_of(one), one.help or "") for one in command.params if one.name != "help"]
    return f"## {name}\n\n{_markdown(text)}\n\n{table(('option', 'default', 'meaning'), rows)}"


def _names(option: Any) -> str:
    if option.param_type_name == "argument":
        return _code(option.metavar or option.name.upper())
    kind = re.search(r"<(?:LIST\[)?(\w+)", option.display_type(None).upper())
    value = f" {kind[1]}" if kind and not option.is_flag else ""
    return ", ".join(_code(name + value) for name in (*option.opts, *option.secondary_opts))


def _default_of(option: Any) -> str:
    default = option.default
    if default in (None, "", (), []) or (option.is_flag and default is False):
        return ""
    return _code(str(default() if callable(default) else default))


def _recipe() -> str:
    parts = [
        "A recipe is a YAML file of these keys; `base:` names a recipe that it changes. On the command line, `KEY=VALUE` changes a "
        "key: `outpaint.variants=4`, `models.scorer=laion`. `procrop-data config show` prints the values of a recipe.\n",
        _section("The run", [key for key in keys_of_settings(Recipe) if "." not in key.name]),
    ]
    for name, field in Recipe.model_fields.items():
        for settings in models_in(field.annotation):
            title = meanings_of(Recipe).get(name, first_sentence(settings))
            parts.append(f"## {name}\n\n{_markdown(title[:1].upper() + title[1:]).rstrip('.')}.\n")
            parts += _roles(settings) if name == "models" else [_rows(keys_of_settings(settings, [name]))]
    return "\n".join(parts)


def _section(title: str, keys: Sequence[RecipeKey]) -> str:
    return f"## {title}\n\n{_rows(keys)}"


def _roles(models: type[BaseModel]) -> list[str]:
    return [_role(role, one) for role, field in models.model_fields.items() for one in models_in(field.annotation)]


def _role(role: str, settings: type[BaseModel]) -> str:
    kinds = get_args(settings.model_fields["kind"].annotation) if has_kind(settings) else ()
    names = ", ".join(_code(kind) for kind in kinds)
    rows = _rows([key for key in keys_of_settings(settings, ["models", role]) if not key.name.endswith(".kind")])
    return f"### models.{role}: {names}\n\n{_markdown(first_sentence(settings))}.\n\n{rows}"


def _rows(keys: Sequence[RecipeKey]) -> str:
    if not keys:
        return "It has no settings.\n"
    rows = [(_code(key.name), _code(key.default), key.type, key.meaning) for key in keys]
    return table(("key", "default", "type", "meaning"), rows)


def _reasons() -> str:
    words = [(_code(word), one.stage, one.meaning, one.remedy) for word, one in DROP_REASONS.items()]
    return (
        "A dropped sample is a row with one of these words; `procrop-data status --failed` lists the rows, and the report shows "
        "examples. Any other word is the class of an error that stopped one sample (exit code 3).\n\n"
        + table(("word", "stage", "what was found", "what changes it"), words)
    )


def _exit_codes() -> str:
    classes = [one for _, one in inspect.getmembers(errors, inspect.isclass) if issubclass(one, errors.ProcropError)]
    meanings = dict(re.findall(r"(\d+) ([^;.]+)", " ".join(HELP.partition("Exit codes: ")[2].split())))
    rows = []
    for code in sorted({0, *(one.exit_code for one in classes)}):
        causes = [_first(one) for one in classes if one.exit_code == code and one is not errors.ProcropError]
        meaning = meanings.get(str(code), "an error of the program: please report it, with the output of `--debug`")
        rows.append((str(code), meaning, " ".join(causes)))
    return (
        "A command prints one line about an error, and never a traceback without `--debug`. The line names what was wrong, the "
        "value and the fix.\n\n" + table(("exit code", "meaning", "errors"), rows)
    )


def _first(one: type) -> str:
    return inspect.cleandoc(one.__doc__ or "").split("\n\n")[0]


def _records() -> str:
    tables: dict[type, list[str]] = {}
    for stage in stages_of(recipe_for("", ())):
        tables.setdefault(stage.record, []).append(stage.name)
    parts = [
        "Each stage writes a Parquet table a shard, `STAGE/NNNNNN.parquet`, whose rows have these fields, and `status`, `reason` "
        "and `detail`. Keys are `[a-z0-9_-]+`; boxes are `[x1, y1, x2, y2]` in pixels, half-open. [The shards](../shards.md) "
        "have a schema of their own.\n"
    ]
    for record in [
        one for _, one in inspect.getmembers(records, dataclasses.is_dataclass) if one.__module__ == records.__name__
    ]:
        stages = ", ".join(_code(name) for name in tables.get(record, []))
        parts.append(_record(record, f"Table of {stages}.\n\n" if stages else ""))
    parts.append("## Crops\n\n`procrop-data crop --json` prints a list of `PhotoRecord`.\n")
    parts += [_record(one, "", "###") for one in (entries.PhotoRecord, entries.CropRecord)]
    return "\n".join(parts)


def _record(record: type, before: str, level: str = "##") -> str:
    rows = [(_code(name), _code(_type_name(hint))) for name, hint in inspect.get_annotations(record).items()]
    text = _markdown(inspect.cleandoc(record.__doc__ or ""))
    return f"{level} {record.__name__}\n\n{before}{text}\n\n{table(('field', 'type'), rows)}"


def _type_name(hint: Any) -> str:
    """A type as it is written, without modules: ``list[CropReference]``."""
    if isinstance(hint, type) and not get_args(hint):
        return hint.__name__
    text = re.sub(r"ForwardRef\('([^']*)'.*?\)", r"\1", str(hint))
    return re.sub(r"\b(?:\w+\.)+", "", text)


if __name__ == "__main__":
    write_pages()
