"""``eval``: measure a cropper on a run's held-out canvases, or on a public cropping set, beside baselines."""

import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from pipeline.app.cropper.evaluate import EvaluationRequest
from pipeline.cli.options import Config, Device, Json, OutputOptions, Quiet, Work, print_json
from pipeline.core.console import plain_console

Model = Annotated[
    str, typer.Option(help="Folder of a trained cropper; default: the one of --work, else the bundled one.")
]
Split = Annotated[str, typer.Option(help="Split to measure on; default: test, or what the set has.")]
Dataset = Annotated[
    str, typer.Option(help="A public set: gaicd, cpc, fcdb, fcdb-pairs, flms, sacd, cad. Without: the run's.")
]
Root = Annotated[str, typer.Option(help="Folder of the public set, as published.")]
Protocol = Annotated[
    str, typer.Option(help="gaic, cacnet, gencrop, eps_acc, fcdb_pairs or pseudo_label; default: the set's own.")
]
Names = Annotated[str, typer.Option(help="File of picture names (text or JSON): measure on these alone.")]
Half = Annotated[
    str, typer.Option(help="Half of a public set: choose (to choose settings on) or check (to report); default: both.")
]
Out = Annotated[str, typer.Option(help="Folder for the report of a public set: JSON, Parquet, sheet of the worst.")]
Ablate = Annotated[
    str, typer.Option(help="One table of what parts are worth: some of retrieval,k,fusion,text,refinement.")
]
AblateEpochs = Annotated[
    int, typer.Option(help="With --ablate: epochs of the networks that are trained for it; 0: the recipe's.", min=0)
]
COLUMNS = 3  # metrics side by side in a terminal


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("eval")(eval_command)


def eval_command(
    work: Work = "work", dataset: Dataset = "", root: Root = "", model: Model = "", split: Split = "",
    protocol: Protocol = "", names: Names = "", half: Half = "", out: Out = "evaluation", ablate: Ablate = "",
    ablate_epochs: AblateEpochs = 0, config: Config = "", device: Device = "auto", json: Json = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Measure a cropper on held-out canvases, or with --dataset and --root on a public set, beside baselines."""
    request = EvaluationRequest(
        work=work, dataset=dataset, root=root, model=model, split=split, protocol=protocol, names=names, half=half,
        out=out, ablate=ablate, ablate_epochs=ablate_epochs, config=config, device=device,
    )  # fmt: skip
    _evaluate(request, OutputOptions(json=json, quiet=quiet))


def _evaluate(request: EvaluationRequest, output: OutputOptions) -> None:
    from pipeline.app.cropper.evaluate import evaluate_request

    result = evaluate_request(request, quiet=output.silent)
    for warning in result.get("warnings", []):
        print(f"warning: {warning}", file=sys.stderr)
    if output.json:
        print_json({name: value for name, value in result.items() if name != "images"})
    elif request.ablate:
        _print_ablation(result)
    else:
        _print_rows(result)


def _print_ablation(result: Mapping[str, Any]) -> None:
    from rich.table import Table

    print(f"{result['n']} canvases of {result['photos']} photographs, split {result['split']}; {result['protocol']}")
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("")
    for name in ("iou [95 %]", "bde [95 %]", "change of iou [95 %]"):
        table.add_column(name, justify="right")
    for name, row in result["rows"].items():
        difference = result["differences"].get(name)
        change = _interval(difference["iou"], "+") if difference else ""
        table.add_row(name, _interval(row["iou"]), _interval(row["bde"]), change)
    plain_console(width=160).print(table)


def _interval(values: Sequence[float], sign: str = "") -> str:
    mean, low, high = values
    return f"{mean:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"


def _print_rows(result: Mapping[str, Any]) -> None:
    from rich.table import Table

    counted = (
        f"{result['n']} canvases of {result['photos']} photographs" if "photos" in result else f"{result['n']} pictures"
    )
    print(f"{counted}, split {result['split']}; {result['protocol']}")
    metrics = shown_metrics(list(next(iter(result["rows"].values()))))
    for start in range(0, len(metrics), COLUMNS):
        table = Table(box=None, header_style="bold", pad_edge=False)
        table.add_column("")
        for name in metrics[start : start + COLUMNS]:
            table.add_column(f"{name} [95 %]", justify="right")
        for method, row in result["rows"].items():
            shown = [row[name] for name in metrics[start : start + COLUMNS]]
            table.add_row(method, *(_interval(values) for values in shown))
        plain_console().print(table)
    costs = [f"{name} {cost['ms']:.1f}" for name, cost in result["cost"].items()]
    parameters = result["cost"].get("model", {}).get("parameters", 0) / 1e6
    print(f"milliseconds a picture: {', '.join(costs)}; model of {parameters:.2f} million parameters")


def shown_metrics(names: list[str]) -> list[str]:
    """The metrics that fit a terminal; ``--json`` has them all."""
    chosen = ("srcc", "pcc", "acc1_5", "acc4_5", "avg5", "avg10")
    return [name for name in names if name in chosen] if "srcc" in names else names
