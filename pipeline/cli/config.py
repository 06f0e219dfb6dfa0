"""``config show``: every key of a recipe with its value, default, type and meaning."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.options import Config, Json, OutputOptions, Work, print_json
from pipeline.core.console import cell, plain_console
from pipeline.core.errors import UsageError

if TYPE_CHECKING:
    from pipeline.planning.recipe_keys import RecipeKey

Words = Annotated[
    list[str] | None,
    typer.Argument(
        help="key=value overrides of the recipe, and names of keys to show: outpaint, models.scorer.",
        metavar="[KEY[=VALUE]]...",
    ),
]


@dataclass(frozen=True)
class ShowRequest:
    """Which keys are shown: of a recipe by ``config`` and ``work`` as in RunRequest, with overrides and names in ``words``."""

    config: str = ""
    work: str = "work"
    words: Sequence[str] = ()


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    group = typer.Typer(help="Show the keys of a recipe.", no_args_is_help=True)
    group.command("show")(show_command)
    app.add_typer(group, name="config")


def show_command(words: Words = None, config: Config = "", work: Work = "work", json: Json = False) -> None:
    """Show each key of a recipe: its value, its default where that differs, what it may be, and what it means."""
    _show(ShowRequest(config, work, words or ()), OutputOptions(json=json))


def _show(request: ShowRequest, output: OutputOptions) -> None:
    keys = shown_keys(request.config, request.work, request.words)
    if output.json:
        print_json([key.as_json() for key in keys])
    else:
        _print_keys(keys)


def shown_keys(config: str, work: str, words: Sequence[str]) -> "list[RecipeKey]":
    """The keys of a recipe with overrides (``a.b=value``), or of them those that ``words`` name. Raises UsageError."""
    from pipeline.app.recipe_for_run import recipe_of_run
    from pipeline.planning.recipe_errors import did_you_mean
    from pipeline.planning.recipe_keys import keys_of_recipe

    recipe = recipe_of_run(config, [word for word in words if "=" in word], work)
    keys, wanted = keys_of_recipe(recipe), [word for word in words if "=" not in word]
    for word in wanted:
        if not any(_is_under(key.name, word) for key in keys):
            known = {".".join(key.name.split(".")[:n]) for key in keys for n in range(1, key.name.count(".") + 2)}
            raise UsageError(f"no key '{word}'{did_you_mean(word, sorted(known))}: 'config show' lists all")
    return [key for key in keys if not wanted or any(_is_under(key.name, word) for word in wanted)]


def _is_under(name: str, word: str) -> bool:
    return f"{name}.".startswith(f"{word}.")


def _print_keys(keys: "Sequence[RecipeKey]") -> None:
    from rich.text import Text

    console = plain_console()
    width = console.width if console.is_terminal else 0
    for key in keys:
        default = "no default" if not key.default else "default" if not key.is_changed else f"default {key.default}"
        line = Text.assemble((f"{key.name} = ", "bold"), cell(key.value), f"   ({key.type}; {default})")
        console.print(line, soft_wrap=not width)
        for text in indented(key.meaning.replace("``", ""), width):
            console.print(cell(text), soft_wrap=True)


def indented(text: str, width: int) -> list[str]:
    """Lines of a text, four blanks in. width: of a line in characters; 0 for one long line."""
    return textwrap.wrap(text, width or len(text) + 5, initial_indent="    ", subsequent_indent="    ")
