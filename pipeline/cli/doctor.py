"""``models``, ``doctor`` and ``download``: which models there are, and whether those of a recipe work on this machine."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.app.recipe_for_run import recipe_of_run
from pipeline.cli.options import Config, Json, OutputOptions, Overrides, Work, print_json
from pipeline.core.console import cell, plain_console, say
from pipeline.core.errors import ModelError

if TYPE_CHECKING:
    from pipeline.app.machine_checks import Check
    from stages.backends.catalogue import Backend
    from stages.backends.needed_files import NeededFile

Calibrate = Annotated[
    bool, typer.Option("--calibrate", help="Bring the recipe's scorers to one scale, by canvases of --work.")
]
OnlyPrint = Annotated[
    bool, typer.Option("--print", help="Print a script that downloads what is missing, with sizes and licences.")
]
Canvases = Annotated[int, typer.Option(help="With --calibrate: number of canvases to score.", min=2)]


@dataclass(frozen=True)
class ModelsRequest:
    """A list of all backends, or with ``calibrate`` a calibration of a recipe's scorers; the other fields are its settings."""

    config: str = ""
    work: str = "work"
    overrides: Sequence[str] = ()
    calibrate: bool = False
    canvases: int = 200


@dataclass(frozen=True)
class DoctorRequest:
    """The recipe whose models are tried, and the run directory whose disk is measured; fields as in RunRequest."""

    config: str = ""
    work: str = "work"
    overrides: Sequence[str] = ()


@dataclass(frozen=True)
class DownloadRequest:
    """The recipe whose models are downloaded, as in RunRequest. only_print: show the commands instead."""

    config: str = ""
    work: str = "work"
    overrides: Sequence[str] = ()
    only_print: bool = False


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command("models")(models_command)
    app.command("doctor")(doctor_command)
    app.command("download")(download_command)


def models_command(
    overrides: Overrides = None, config: Config = "", work: Work = "work", calibrate: Calibrate = False,
    canvases: Canvases = 200, json: Json = False,
) -> None:  # fmt: skip
    """List every backend: role, licence, size, whether it is on this machine, and what doctor has measured of it."""
    request = ModelsRequest(config=config, work=work, overrides=overrides or (), calibrate=calibrate, canvases=canvases)
    _models(request, OutputOptions(json=json))


def _models(request: ModelsRequest, output: OutputOptions) -> None:
    if request.calibrate:
        _calibrate(request, output)
        return
    from stages.backends.catalogue import all_backends, measurements

    backends, measured = all_backends(), measurements()
    if output.json:
        print_json([{**backend.as_json(), "measured": measured.get(backend.address)} for backend in backends])
    else:
        _print_backends(backends, measured)


def _print_backends(backends: "Sequence[Backend]", measured: Mapping[str, Mapping[str, Any]]) -> None:
    from rich.table import Table

    console = plain_console()
    if not console.is_terminal:
        console = plain_console(width=200)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("role", "kind", "here", "size, about", "measured here", "licence", "model"):
        table.add_column(column, overflow="fold")
    for backend in backends:
        m = measured.get(backend.address)
        speed = f"{m['rate']:.3g}/s, {m['memory_mib']:.0f} MiB, {m['device']}" if m else "-"
        size = f"{backend.size_gb:.2g} GB" if backend.size_gb else "-"
        here = "yes" if backend.is_here else "no"
        table.add_row(backend.role, backend.kind, here, size, speed, cell(backend.licence), cell(backend.model))
    console.print(table)


def _calibrate(request: ModelsRequest, output: OutputOptions) -> None:
    from pipeline.app.calibrate_scorers import calibrate_scorers

    report = calibrate_scorers(request.config, request.work, request.overrides, canvases=request.canvases)
    if output.json:
        print_json(report.as_json())
        return
    for member in report.ensemble.get("members", ()):
        print(f"{member['name']}: mean {member['mean']}, deviation {member['deviation']}")
    if report.agreement is not None:
        print(
            f"the cheap scorer and the full one agree in rank by {report.agreement:.3f} over {report.pictures} pictures"
        )
    print(f"{report.canvases} canvases, {report.crops} crops{f': {report.path}' if report.path else ''}")


def doctor_command(overrides: Overrides = None, config: Config = "", work: Work = "work", json: Json = False) -> None:
    """Check the machine, and that each model of a recipe loads and makes one valid sample. Exit code 2 when one does not."""
    _doctor(DoctorRequest(config=config, work=work, overrides=overrides or ()), OutputOptions(json=json))


def _doctor(request: DoctorRequest, output: OutputOptions) -> None:
    from pipeline.app.machine_checks import (
        check_any_checkpoint,
        check_gpu_roles,
        check_machine,
        check_plugins,
        has_gpu,
    )
    from stages.backends.needed_files import needed_files
    from stages.backends.smoke_test import try_models

    recipe = recipe_of_run(request.config, request.overrides, request.work)
    gpu = check_gpu_roles(recipe.models.gpu_roles, has_gpu=has_gpu())
    known = [*check_any_checkpoint(recipe.models.outpainter.kind), *check_plugins(recipe.plugins)]
    checks = [*check_machine(request.work), *gpu, *known]
    missing = [needed for needed in needed_files(recipe.models) if not needed.is_here]
    if not output.json:
        _print_checks(checks, missing)
    trials = []
    for trial in try_models(recipe.models, recipe.outpaint.long_side, without={needed.role for needed in missing}):
        trials.append(trial)
        if not output.json:
            say(trial.text())
    failed = [
        *(check.what for check in checks if not check.ok), *(needed.setting for needed in missing),
        *(trial.role for trial in trials if not trial.ok),
    ]  # fmt: skip
    if output.json:
        print_json(
            {
                "ok": not failed, "recipe": recipe.name, "machine": [check.as_json() for check in checks],
                "missing": [needed.as_json() for needed in missing], "models": [trial.as_json() for trial in trials],
            }
        )  # fmt: skip
    elif not failed:
        print(f"all checks passed: '{recipe.name}' can be run here")
    else:
        _print_what_to_do(recipe.name, missing, request)
    if failed:
        count = len(checks) + len(missing) + len(trials)
        say(f"{len(failed)} of {count} checks failed: {', '.join(failed)}", stderr=True)
        raise typer.Exit(ModelError.exit_code)


def _print_checks(checks: "Sequence[Check]", missing: "Sequence[NeededFile]") -> None:
    for check in checks:
        say(check.text())
    for needed in missing:
        say(f"BAD  {'missing':<16} {needed.text()}: {needed.problem}")


def _print_what_to_do(recipe: str, missing: "Sequence[NeededFile]", request: DoctorRequest) -> None:
    from stages.backends.needed_files import download_script

    if missing:
        words = [*(["--config", request.config] if request.config else ["--work", request.work]), *request.overrides]
        print(f"\ndownload what is missing: procrop-data download {shlex.join(words)}\nor, by hand:")
        print(download_script(recipe, list(missing)))


def download_command(
    overrides: Overrides = None, config: Config = "", work: Work = "work", only_print: OnlyPrint = False
) -> None:
    """Download what the models of a recipe need and this machine lacks; --print shows the commands instead."""
    _download(DownloadRequest(config, work, overrides or (), only_print), OutputOptions())


def _download(request: DownloadRequest, output: OutputOptions) -> None:
    from pipeline.app.download_models import download_all
    from stages.backends.needed_files import download_script, needed_files

    recipe = recipe_of_run(request.config, request.overrides, request.work)
    missing = [needed for needed in needed_files(recipe.models) if not needed.is_here]
    if request.only_print or not missing:
        print(download_script(recipe.name, missing))
        return
    for needed in download_all(missing):
        print(f"here: {needed.text()}", flush=True)
