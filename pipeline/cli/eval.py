"""``eval``: measure a cropper on a run's held-out canvases, or on a public cropping set, beside baselines."""

import sys
from typing import Annotated

import typer

from pipeline.app.cropper.evaluation_request import EvaluationRequest
from pipeline.cli.options import Config, Device, Json, OutputOptions, Quiet, Work, print_json

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
Scorer = Annotated[
    str,
    typer.Option(help="Measure a scorer instead, on given boxes: a kind of models.scorer, or train-scorer's folder."),
]
Boxes = Annotated[
    str,
    typer.Option(help="Measure these boxes instead: a CSV of file,x1,y1,x2,y2 in pixels, the first of a file is best."),
]
Groups = Annotated[str, typer.Option(help="CSV of file,group: report each group of pictures apart, too.")]
LongSide = Annotated[
    int,
    typer.Option(
        help="The cropper or scorer sees pictures reduced to this long side in pixels; 0: as they are.", min=0
    ),
]
Quick = Annotated[
    bool, typer.Option("--quick", help="Public sets: leave out faces and the baselines that look at the picture.")
]
RefitCalibration = Annotated[
    bool,
    typer.Option("--refit-calibration", help="Public sets: fit the meaning of --model's scores on these photographs."),
]
Out = Annotated[str, typer.Option(help="Folder for the report of a public set: JSON, Parquet, sheet of the worst.")]
Ablate = Annotated[
    str, typer.Option(help="One table of what parts are worth: some of retrieval,k,fusion,text,refinement.")
]
AblateEpochs = Annotated[
    int, typer.Option(help="With --ablate: epochs of the networks that are trained for it; 0: the recipe's.", min=0)
]


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("eval")(eval_command)


def eval_command(
    work: Work = "work", dataset: Dataset = "", root: Root = "", model: Model = "", split: Split = "",
    protocol: Protocol = "", names: Names = "", half: Half = "", scorer: Scorer = "", boxes: Boxes = "",
    groups: Groups = "", long_side: LongSide = 0, quick: Quick = False, refit_calibration: RefitCalibration = False,
    out: Out = "evaluation", ablate: Ablate = "", ablate_epochs: AblateEpochs = 0, config: Config = "",
    device: Device = "auto", json: Json = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Measure a cropper on held-out canvases, or with --dataset and --root on a public set, beside baselines."""
    request = EvaluationRequest(
        work=work, dataset=dataset, root=root, model=model, split=split, protocol=protocol, names=names, half=half,
        scorer=scorer, boxes=boxes, groups=groups, long_side=long_side, quick=quick,
        refit_calibration=refit_calibration, out=out, ablate=ablate, ablate_epochs=ablate_epochs, config=config,
        device=device,
    )  # fmt: skip
    _evaluate(request, OutputOptions(json=json, quiet=quiet))


def _evaluate(request: EvaluationRequest, output: OutputOptions) -> None:
    from pipeline.app.cropper.evaluate import evaluate_request
    from pipeline.cli.eval_tables import print_ablation, print_rows

    result = evaluate_request(request, quiet=output.silent)
    for warning in result.get("warnings", []):
        print(f"warning: {warning}", file=sys.stderr)
    if output.json:
        print_json({name: value for name, value in result.items() if name != "images"})
    elif request.ablate:
        print_ablation(result)
    else:
        print_rows(result)
