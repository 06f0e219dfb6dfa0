"""``models`` and ``doctor``: which models there are, and whether those of a recipe work here, before a run of days is begun."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.app.recipe_for_run import read_recipe
from pipeline.cli.options import Config, Json, Overrides, Work, print_json
from pipeline.core.errors import ModelError

if TYPE_CHECKING:
    from stages.backends.catalogue import Backend

Calibrate = Annotated[
    bool, typer.Option("--calibrate", help="Bring the recipe's scorers to one scale, by canvases of --work.")
]
Canvases = Annotated[int, typer.Option(help="With --calibrate: how many canvases are looked at.", min=2)]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command("models")(models)
    app.command("doctor")(doctor)


def models(
    overrides: Overrides = None, config: Config = "", work: Work = "work", calibrate: Calibrate = False,
    canvases: Canvases = 200, json: Json = False,
) -> None:  # fmt: skip
    """List every backend: role, licence, size, what it needs, whether it is here, and what doctor has measured of it here."""
    if calibrate:
        _calibrate(overrides or [], config, work, canvases, json)
        return
    from stages.backends.catalogue import all_backends, measurements

    told = [(backend, measurements().get(backend.address)) for backend in all_backends()]
    if json:
        print_json([{**backend.as_json(), "measured": measured} for backend, measured in told])
        return
    _print_backends(told)


def _print_backends(told: "list[tuple[Backend, dict[str, Any] | None]]") -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=200)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("role", "kind", "here", "size, about", "measured here", "licence", "model"):
        table.add_column(column, overflow="fold")
    for backend, measured in told:
        seen = f"{measured['rate']:.3g}/s, {measured['memory_mib']:.0f} MiB, {measured['device']}" if measured else "-"
        size = f"{backend.size_gb:.2g} GB" if backend.size_gb else "-"
        here = "yes" if backend.is_here else "no"
        table.add_row(backend.role, backend.kind, here, size, seen, escape(backend.licence), escape(backend.model))
    console.print(table)


def _calibrate(overrides: list[str], config: str, work: str, canvases: int, json: bool) -> None:
    from pipeline.cli.calibrate import calibrate

    told = calibrate(overrides, config, work, canvases)
    if json:
        print_json(told)
        return
    for member in told["members"]:
        print(f"{member['name']}: mean {member['mean']}, deviation {member['deviation']}")
    if told["agreement"] is not None:
        print(
            f"the choice before and the score agree in rank by {told['agreement']:.3f} over {told['pictures']} pictures"
        )
    print(f"{told['canvases']} canvases, {told['crops']} crops" + (f": {told['path']}" if told["path"] else ""))


def doctor(overrides: Overrides = None, config: Config = "", work: Work = "work", json: Json = False) -> None:
    """Check the machine, and that each model of a recipe loads and makes one valid sample. Exit code 2 when one does not."""
    from pipeline.app.machine_checks import look_at_machine
    from pipeline.runs.plan import load_plan
    from pipeline.storage.open_store import open_store
    from stages.backends.smoke_test import try_models

    recipe = read_recipe(config, overrides or [], load_plan(open_store(work)))
    lines = look_at_machine(work)
    if not json:
        for line in lines:
            print(line.text())
    results = []
    for result in try_models(recipe.models, side=recipe.outpaint.long_side):
        results.append(result)
        if not json:
            print(result.text(), flush=True)
    bad = [*(line.what for line in lines if not line.ok), *(result.role for result in results if not result.ok)]
    if json:
        print_json({"ok": not bad, "recipe": recipe.name, "machine": [x.as_json() for x in lines],
                    "models": [x.as_json() for x in results]})  # fmt: skip
    elif not bad:
        print(f"all is well: '{recipe.name}' can be run here")
    if bad:
        print(f"{len(bad)} of {len(lines) + len(results)} checks failed: {', '.join(bad)}", file=sys.stderr)
        raise typer.Exit(ModelError.exit_code)
