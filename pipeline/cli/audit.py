"""``audit seam``: can probes tell paint from photograph? ``audit paint``: fair limits for the checks of the paint."""

import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from pipeline.app.audit_canvases import PaintAuditRequest, SeamAuditRequest
from pipeline.cli.options import Json, OutputOptions, Quiet, Work, print_json
from pipeline.core.console import plain_console

Treat = Annotated[
    list[str] | None,
    typer.Option(help="Audit with this treatment on top, too: 'match=0.5 noise=3'; repeatable.", metavar="SETTINGS"),
]
Compare = Annotated[bool, typer.Option("--compare", help="Audit with each of a fixed list of treatments, too.")]
Canvases = Annotated[int, typer.Option(help="Canvases to read, at most.", min=1)]
Patch = Annotated[int, typer.Option(help="Side of a patch in pixels; 0: 16, or 32 on canvases of 384 and more.", min=0)]
Folds = Annotated[
    int, typer.Option(help="Parts of the photographs, each judged by probes trained on the others.", min=2)
]
Share = Annotated[
    float, typer.Option(help="Share of unpainted surroundings that may fail a calibrated limit.", min=0, max=0.5)
]
Seed = Annotated[int, typer.Option(help="Seed of patches, folds, networks and intervals.", min=0)]
Network = Annotated[bool, typer.Option("--network/--no-network", help="Train the CNN probe, too; it takes longest.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    audits = typer.Typer(help="Measure how well painted surroundings pass for photograph.", no_args_is_help=True)
    audits.command("seam")(seam_command)
    audits.command("paint")(paint_command)
    app.add_typer(audits, name="audit")


def seam_command(
    work: Work = "work", treat: Treat = None, compare: Compare = False, canvases: Canvases = 400, patch: Patch = 0,
    folds: Folds = 5, seed: Seed = 0, network: Network = True, json: Json = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Tell paint from photograph by local patches: AUC by probe with 95 % intervals, beside controls (docs/seam.md)."""
    request = SeamAuditRequest(
        work=work, treat=treat or (), compare=compare, canvases=canvases, patch=patch, folds=folds, seed=seed,
        network=network,
    )  # fmt: skip
    _audit_seam(request, OutputOptions(json=json, quiet=quiet))


def _audit_seam(request: SeamAuditRequest, output: OutputOptions) -> None:
    from pipeline.app.audit_canvases import audit_seam

    def report_progress(line: str) -> None:
        if not output.silent:
            print(line, file=sys.stderr, flush=True)

    result = audit_seam(request, report_progress)
    if output.json:
        print_json({name: value for name, value in result.items() if name != "heat"})
    else:
        _print_seam(result)


def paint_command(
    work: Work = "work", share: Share = 0.01, canvases: Canvases = 400, seed: Seed = 0, json: Json = False,
) -> None:  # fmt: skip
    """Calibrate the checks of painted canvases on unpainted surroundings, and name the canvases beyond those limits."""
    _audit_paint(PaintAuditRequest(work=work, share=share, canvases=canvases, seed=seed), OutputOptions(json=json))


def _audit_paint(request: PaintAuditRequest, output: OutputOptions) -> None:
    from pipeline.app.audit_canvases import audit_paint

    result = audit_paint(request)
    if output.json:
        print_json(result)
        return
    print(f"{result['canvases']} canvases; calibrated: what {request.share:.0%} of unpainted surroundings would fail")
    for name, one in result["measures"].items():
        print(
            f"{name:<19} limit {one['in_force']:<6} calibrated {one['calibrated']:<8} middle {one['unpainted'][2]} unpainted, "
            f"{one['painted'][2]} painted; beyond: {one['beyond']} {' '.join(one['worst'][:2])}"
        )


def _print_seam(result: Mapping[str, Any]) -> None:
    from rich.table import Table

    print(
        f"{result['canvases']} canvases of {result['photos']} photographs, patches of {result['patch']} px, "
        f"{result['folds']} folds by photo; AUC with 95 % intervals drawn by photo, 0.5 is chance"
    )
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("")
    for name in ("logistic", "network", "within a canvas", "seam line", "kept, dB"):
        table.add_column(name, justify="right")
    for row in result["rows"]:
        name = f"+ {row['treatment']}" if row["treatment"] else f"{row['outpainter'].split('@')[0]}, {row['seam']}"
        table.add_row(name, *_cells(row), f"{row['kept_psnr']:.1f}")
    for name, row in result["controls"].items():
        table.add_row(f"control: {name}", *_cells(row), "")
    plain_console(width=160).print(table)
    print(f"controls: {'as they must be' if result['holds'] else 'FAILED, so no figure above is meaningful'}")


def _cells(row: Mapping[str, Any]) -> list[str]:
    cells = [_interval(row.get(name)) for name in ("logistic", "network", "line")]
    return [*cells[:2], f"{row['within']:.3f}", cells[2]]


def _interval(value: Sequence[float] | None) -> str:
    return "{:.3f} [{:.3f}, {:.3f}]".format(*value) if value else "-"
