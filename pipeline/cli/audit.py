"""``audit seam``: can probes tell paint from photograph? ``audit paint``: fair limits for the checks of the paint."""

import json as json_format
import sys
from typing import Annotated, Any

import typer

from pipeline.app.session import open_existing
from pipeline.cli.options import Json, Quiet, Work, print_json
from pipeline.core.errors import UsageError

RESULT, PAINT = "report/seam.json", "report/paint.json"
# The treatments of --compare, for canvases made with none; docs/seam.md has their figures.
COMPARED = (
    "match=0.5",
    "noise=3",
    "match=0.5 noise=2",
    "match=0.3 noise=3",
    "match=0.5 noise=3",
    "match=0.7 noise=3",
    "match=0.5 noise=5",
    "match=0.7 noise=6",
    "match=0.5 noise=3 jpeg_quality=85",
)

Treat = Annotated[
    list[str] | None,
    typer.Option(
        help="Audit with this treatment on top, too: 'match=0.5 noise=3'. Again for more.", metavar="SETTINGS"
    ),
]
Compare = Annotated[bool, typer.Option("--compare", help="Audit with each of a fixed list of treatments, too.")]
Canvases = Annotated[int, typer.Option(help="Canvases to read, at most.", min=1)]
Patch = Annotated[int, typer.Option(help="Side of a patch in pixels; 0: 16, or 32 on canvases of 384 and more.", min=0)]
Folds = Annotated[
    int, typer.Option(help="Parts of the photographs, each judged by probes trained on the others.", min=2)
]
Share = Annotated[
    float, typer.Option(help="Of unpainted surroundings that may fail a calibrated limit.", min=0, max=0.5)
]
Seed = Annotated[int, typer.Option(help="Of patches, folds, networks and intervals.", min=0)]
Network = Annotated[
    bool, typer.Option("--network/--no-network", help="Whether the CNN is trained, too; it takes longest.")
]

audits = typer.Typer(help="Measure what a picture of a run gives away.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    audits.command("seam")(seam)
    audits.command("paint")(paint)
    app.add_typer(audits, name="audit")


@audits.callback()
def _group() -> None:
    """Measure what a picture of a run gives away."""


def seam(
    work: Work = "work", treat: Treat = None, compare: Compare = False, canvases: Canvases = 400, patch: Patch = 0,
    folds: Folds = 5, seed: Seed = 0, network: Network = True, json: Json = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Tell paint from photograph by local patches: AUC by probe with 95 % intervals, beside controls (docs/seam.md)."""
    session = open_existing(work)
    import torch

    from stages.audits.seam.run import AuditSettings, audit

    torch.set_num_threads(1)  # the same seed gives the same figures, whatever the machine's cores
    settings = AuditSettings(side=patch, folds=folds, canvases=canvases, seed=seed, network=network)
    treatments = [treatment(words) for words in (*(COMPARED if compare else ()), *(treat or ()))]

    def say(line: str) -> None:
        if not (quiet or json):
            print(line, file=sys.stderr, flush=True)

    found = {"work": work, **audit(session.run.tables(), settings, treatments, say)}
    session.run.store.write(RESULT, json_format.dumps(found, indent=1).encode())
    if json:
        print_json({name: value for name, value in found.items() if name != "heat"})
    else:
        _print(found)


def paint(
    work: Work = "work", share: Share = 0.01, canvases: Canvases = 400, seed: Seed = 0, json: Json = False,
) -> None:  # fmt: skip
    """Calibrate the checks of painted canvases on unpainted surroundings, and name the canvases beyond those limits."""
    session = open_existing(work)
    from stages.audits.paint import Frames, calibrate
    from stages.audits.subject import calibrate_own_subject
    from stages.backends.registry import models_of

    recipe, tables, frames = session.recipe, session.run.tables(), Frames(share, canvases, seed)
    found = {"work": work, **calibrate(tables, recipe.outpaint.checks, frames)}
    own = calibrate_own_subject(tables, models_of(recipe.models).segmenter, recipe.filter.min_own_subject, frames)
    found["measures"] |= {"own_subject": own} if own else {}
    session.run.store.write(PAINT, json_format.dumps(found, indent=1).encode())
    if json:
        print_json(found)
        return
    print(f"{found['canvases']} canvases; calibrated: what {share:.0%} of unpainted surroundings would fail")
    for name, one in found["measures"].items():
        print(
            f"{name:<19} limit {one['in_force']:<6} calibrated {one['calibrated']:<8} middle {one['unpainted'][2]} unpainted, "
            f"{one['painted'][2]} painted; beyond: {one['beyond']} {' '.join(one['worst'][:2])}"
        )


def treatment(words: str) -> Any:
    """Settings of a seam from ``key=value`` words; raises UsageError, also for what needs the paint anew."""
    from pydantic import ValidationError

    from stages.canvases.seam_treatment import UNTREATED, SeamSettings

    pairs = dict(word.partition("=")[::2] for word in words.split())
    for name in ("scale", "keep", "feather_px"):
        if name in pairs:
            raise UsageError(
                f"--treat {name}={pairs[name]} needs the canvases painted anew: "
                f"make a run with outpaint.seam.{name}={pairs[name]} and audit that"
            )
    try:
        return SeamSettings.model_validate({**UNTREATED.model_dump(), **pairs})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"--treat '{words}': {where}: {first['msg']}") from error


def _print(found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    print(
        f"{found['canvases']} canvases of {found['photos']} photographs, patches of {found['patch']} px, "
        f"{found['folds']} folds by photo; AUC with 95 % intervals drawn by photo, 0.5 is chance"
    )
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("")
    for name in ("logistic", "network", "within a canvas", "seam line", "kept, dB"):
        table.add_column(name, justify="right")
    for row in found["rows"]:
        name = f"+ {row['treatment']}" if row["treatment"] else f"{row['outpainter'].split('@')[0]}, {row['seam']}"
        table.add_row(name, *_cells(row), f"{row['kept_psnr']:.1f}")
    for name, row in found["controls"].items():
        table.add_row(f"control: {name}", *_cells(row), "")
    Console(width=160).print(table)
    print(f"controls: {'as they must be' if found['holds'] else 'FAILED, so no figure above says anything'}")


def _cells(row: dict[str, Any]) -> list[str]:
    cells = [_interval(row.get(name)) for name in ("logistic", "network", "line")]
    return [*cells[:2], f"{row['within']:.3f}", cells[2]]


def _interval(value: list[float] | None) -> str:
    return "{:.3f} [{:.3f}, {:.3f}]".format(*value) if value else "-"
