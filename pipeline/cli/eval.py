"""``eval``: a cropper measured on a run's held-out canvases, or on a public cropping set, beside its baselines."""

import json as json_format
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.app.crop_files.inputs import find_model
from pipeline.app.result_stamp import is_made_from, key_of, mark
from pipeline.app.session import Session, local_folder, open_session
from pipeline.cli.options import Config, Device, Json, Quiet, Work, print_json
from pipeline.cli.training_progress import progress_bar
from pipeline.core.errors import MissingUpstreamError, UsageError
from pipeline.core.resources import file_digest

if TYPE_CHECKING:
    from procrop_model import Cropper
    from procrop_model.datasets.labelled import LabelledSet
    from procrop_model.datasets.registry import Format
    from procrop_model.evaluation.baselines import Finder

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
Out = Annotated[str, typer.Option(help="Folder for the report of a public set: JSON, Parquet, sheet of the worst.")]
Ablate = Annotated[
    str, typer.Option(help="One table of what parts are worth: some of retrieval,k,fusion,text,refinement.")
]
AblateEpochs = Annotated[
    int, typer.Option(help="With --ablate: epochs of the networks that are trained for it; 0: the recipe's.", min=0)
]
FITTED = 48  # canvases that the saliency box is fitted on
FIGURES = 3  # side by side in a terminal
VERSION = 2  # of what an evaluation of a run tells


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("eval")(evaluate)


def evaluate(
    work: Work = "work", dataset: Dataset = "", root: Root = "", model: Model = "", split: Split = "",
    protocol: Protocol = "", names: Names = "", out: Out = "evaluation", ablate: Ablate = "", ablate_epochs: AblateEpochs = 0,
    config: Config = "", device: Device = "auto", json: Json = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Measure a cropper on held-out canvases, or with --dataset and --root on a public set, beside baselines."""
    if bool(dataset) != bool(root):
        raise UsageError("--dataset and --root go together: the name of a public set, and the folder that holds it")
    if ablate and dataset:
        raise UsageError("--ablate trains and measures on a run's canvases: leave --dataset out")
    folder, quiet = find_model(model, work), quiet or json
    if ablate:
        session = open_session(config, work, None)
        result = _ablation(session, folder, ablate, split or "test", epochs=ablate_epochs, device=device, quiet=quiet)
    elif dataset:
        result = _public_set(folder, dataset, root, split, protocol, names, Path(out), device=device, quiet=quiet)
    else:
        if protocol or names:
            raise UsageError("--protocol and --names are for public sets: give --dataset and --root, too")
        result = _canvases(open_session(config, work, None), folder, split or "test", device=device, quiet=quiet)
    for warning in result.get("warnings", []):
        print(f"warning: {warning}", file=sys.stderr)
    if json:
        print_json({name: value for name, value in result.items() if name != "images"})
    elif ablate:
        _print_ablation(result)
    else:
        _print_rows(result)


def _ablation(
    session: Session, folder: Path, given: str, split: str, *, epochs: int, device: str, quiet: bool
) -> dict[str, Any]:
    from pipeline.cli.ablate import ablate, wanted_parts
    from procrop_model.evaluation.evaluate_run import evaluate as measure

    parts = wanted_parts(given)
    root: Path = local_folder(session)
    if not session.run.receipts("build"):
        raise MissingUpstreamError("eval needs the dataset: run 'procrop-data run' first")

    def told(model: Path, k: int | None) -> dict[str, Any]:
        progress, close = progress_bar(f"eval {model.parent.name}", quiet)
        try:
            return measure(_load(model, device), root / "dataset", split, k=k, progress=progress)
        finally:
            close()

    result = ablate(session, folder, parts, told, epochs=epochs, device=device, quiet=quiet)
    place = root / "models" / "cropper" / f"ablation-{split}.json"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json_format.dumps(result, indent=1), encoding="utf-8")
    return result


def _print_ablation(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    print(f"{result['n']} canvases of {result['photos']} photographs, split {result['split']}; {result['protocol']}")
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("")
    for name in ("iou [95 %]", "bde [95 %]", "iou less the first [95 %]"):
        table.add_column(name, justify="right")
    for name, row in result["rows"].items():
        apart = result["differences"].get(name)
        table.add_row(name, _figure(row["iou"]), _figure(row["bde"]), _figure(apart["iou"], "+") if apart else "")
    Console(width=160).print(table)


def _figure(values: list[float], sign: str = "") -> str:
    mean, low, high = values
    return f"{mean:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"


def _canvases(session: Session, folder: Path, split: str, *, device: str, quiet: bool) -> dict[str, Any]:
    """A run's own split; done once for a model and a dataset."""
    from pipeline.app.public_sets.evaluation_report import write_files

    if not session.run.receipts("build"):
        raise MissingUpstreamError("eval needs the dataset: run 'procrop-data run' first, or name a public --dataset")
    root: Path = local_folder(session, ["build"])
    home = root / "models" / "cropper"
    home.mkdir(parents=True, exist_ok=True)
    told = home / f"evaluation-{split}.json"
    key = key_of([VERSION, split, file_digest(str(folder / "config.json"))], session.run.receipts("build"))
    if not is_made_from(told, key):
        result = _measure(folder, root / "dataset", split, device=device, quiet=quiet)
        write_files(result, told, _canvas_pictures(root / "dataset", split))
        mark(told, key)
    found: dict[str, Any] = json_format.loads(told.read_text(encoding="utf-8"))
    return found


def _measure(folder: Path, dataset: Path, split: str, *, device: str, quiet: bool) -> dict[str, Any]:
    from pipeline.app.train_overlap import warnings_of
    from procrop_model.evaluation.evaluate_run import evaluate as measure

    cropper, margin = _load(folder, device), _margin(dataset)
    progress, close = progress_bar("eval", quiet)
    try:
        result = measure(cropper, dataset, split, finders=_finders(margin), progress=progress)
    except ValueError as error:
        raise UsageError(str(error)) from error
    finally:
        close()
    photos = {row["photo"] for row in result["images"]}
    return {**result, "saliency_margin": margin, "warnings": warnings_of(cropper, folder, photos)}


def _public_set(
    folder: Path, dataset: str, root: str, split: str, protocol: str, names: str, out: Path, *, device: str, quiet: bool
) -> dict[str, Any]:
    from pipeline.app.public_sets.evaluation_report import write_files
    from pipeline.app.train_overlap import content_keys, warnings_of
    from procrop_model.datasets.registry import dataset_format
    from procrop_model.evaluation.evaluate_set import evaluate_set

    form = dataset_format(dataset)
    found = read_part(form, root, split, names)
    wanted = protocol or form.protocol
    if not quiet:
        print(f"{form.name} in {root}: {'; '.join(found.remarks())}", file=sys.stderr)
    keys = content_keys([image.path for image in found.images])
    cropper = _load(folder, device)
    progress, close = progress_bar("eval", quiet)
    try:
        result = evaluate_set(cropper, found, wanted, finders=_finders(), keys=keys, progress=progress)
    finally:
        close()
    result["warnings"] = warnings_of(cropper, folder, set(keys.values()))
    if wanted == "gencrop" and not names and form.name in ("flms", "fcdb"):
        result["warnings"].append(f"gencrop's figures on {form.name} are for its human-only subset: give --names")
    out.mkdir(parents=True, exist_ok=True)
    place = out / f"{form.name}-{wanted}.json"
    write_files(result, place, {row["key"]: Path(row["photo"]).read_bytes for row in result["images"]})
    return result


def read_part(form: "Format", root: str, split: str, names: str = "") -> "LabelledSet":
    """A split of a set, and of that the pictures of a list of names: lines of text, or a JSON list or object of names."""
    from procrop_model.datasets.checks import read_json
    from procrop_model.datasets.labelled import only

    found = form.read(root, split or form.split)
    if not names:
        return found
    path = Path(names)
    if not path.is_file():
        raise UsageError(f"--names '{names}': no such file")
    listed = read_json(path) if path.suffix == ".json" else path.read_text(encoding="utf-8").splitlines()
    return only(found, [str(name).strip() for name in listed if str(name).strip()])


def _load(folder: Path, device: str) -> "Cropper":
    import torch

    from procrop_model import Cropper

    where = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    return Cropper.load(folder, device=where)


def _finders(margin: float | None = None) -> "dict[str, Finder]":
    """The baselines that look at the picture; the segmenter comes from the stages, which the model's package does not know."""
    from procrop_model.evaluation.baselines import MARGIN, finders
    from stages.backends.vision.u2net import U2NetSegmenter

    return finders(U2NetSegmenter().segment, MARGIN if margin is None else margin)


def _margin(dataset: Path) -> float:
    """The saliency box's margin, fitted on canvases of the train split that are evenly spread over it."""
    from procrop_model.evaluation.baselines import fit_margin
    from procrop_model.training.samples import read_split
    from stages.backends.vision.u2net import U2NetSegmenter

    train, segmenter = read_split(dataset, "train", needed=False), U2NetSegmenter()
    chosen = [train[index] for index in range(0, len(train), max(1, len(train) // FITTED))][:FITTED]
    masks = [segmenter.segment([sample.decode().image])[0] for sample in chosen]
    return fit_margin(masks, [sample.photo_box for sample in chosen])


def _canvas_pictures(dataset: Path, split: str) -> dict[str, Any]:
    from functools import partial

    from procrop_model.training.samples import read_split

    samples = read_split(dataset, split)
    return {key: partial(_canvas_bytes, samples, index) for index, key in enumerate(samples.keys)}


def _canvas_bytes(samples: Any, index: int) -> bytes:
    data: bytes = samples[index].image
    return data


def _print_rows(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    what = (
        f"{result['n']} canvases of {result['photos']} photographs" if "photos" in result else f"{result['n']} pictures"
    )
    print(f"{what}, split {result['split']}; {result['protocol']}")
    names = shown_figures(list(next(iter(result["rows"].values()))))
    for start in range(0, len(names), FIGURES):
        table = Table(box=None, header_style="bold", pad_edge=False)
        table.add_column("")
        for name in names[start : start + FIGURES]:
            table.add_column(f"{name} [95 %]", justify="right")
        for method, row in result["rows"].items():
            shown = [row[name] for name in names[start : start + FIGURES]]
            table.add_row(method, *(f"{mean:.3f} [{low:.3f}, {high:.3f}]" for mean, low, high in shown))
        Console().print(table)
    costs = [f"{name} {cost['ms']:.1f}" for name, cost in result["cost"].items()]
    parameters = result["cost"].get("model", {}).get("parameters", 0) / 1e6
    print(f"milliseconds a picture: {', '.join(costs)}; model of {parameters:.2f} million parameters")


def shown_figures(names: list[str]) -> list[str]:
    """The figures that fit a terminal; ``--json`` has them all."""
    chosen = ("srcc", "pcc", "acc1_5", "acc4_5", "avg5", "avg10")
    return [name for name in names if name in chosen] if "srcc" in names else names
