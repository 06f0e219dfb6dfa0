"""Evaluate a cropper beside its baselines: on a run's held-out canvases, or on a public cropping set."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.app.crop_files.inputs import find_model
from pipeline.app.progress_bar import progress_bar
from pipeline.app.result_stamp import is_made_from, key_of, mark
from pipeline.app.session import local_folder, open_session
from pipeline.core.errors import MissingUpstreamError, UsageError
from pipeline.core.resources import file_digest

if TYPE_CHECKING:
    from procrop_model import Cropper
    from procrop_model.datasets.labelled import LabelledSet
    from procrop_model.datasets.registry import Format
    from procrop_model.evaluation.baselines import Finder
    from procrop_model.training.samples import CanvasSet

FITTED = 48  # train canvases that the margin of the saliency box is fitted on
VERSION = 2  # of the result of a run's evaluation; a higher one makes stored results stale


@dataclass(frozen=True)
class EvaluationRequest:
    """What is evaluated, on what, and by which protocol.

    Args:
        work: run directory; without ``dataset``, its held-out canvases are measured.
        config: recipe by name or file; empty: the recipe of the run directory.
        model: folder of a trained cropper; empty: the one of ``work``, else the bundled one.
        dataset: name of a public set; empty: the run's canvases.
        root: folder of the public set, as published.
        split: empty: ``test``, or the public set's own default.
        protocol: of a public set; empty: the set's own.
        names: file of picture names (lines of text, or a JSON list or object); only these are measured.
        half: of a public set: ``choose`` or ``check``; empty: both.
        out: folder for the report of a public set.
        ablate: comma-separated parts of the network; measures what each is worth on the run's canvases.
        ablate_epochs: epochs of the networks that are trained for ``ablate``; 0: the recipe's.
        device: ``cpu``, ``cuda``, ``cuda:N``, or ``auto`` for a GPU if there is one.
    """

    work: str = "work"
    config: str = ""
    model: str = ""
    dataset: str = ""
    root: str = ""
    split: str = ""
    protocol: str = ""
    names: str = ""
    half: str = ""
    out: str = "evaluation"
    ablate: str = ""
    ablate_epochs: int = 0
    device: str = "auto"

    def require_consistent(self) -> None:
        """Raise UsageError for options that exclude or need one another."""
        if bool(self.dataset) != bool(self.root):
            raise UsageError("--dataset and --root go together: the name of a public set, and the folder that holds it")
        if self.ablate and self.dataset:
            raise UsageError("--ablate trains and measures on a run's canvases: leave --dataset out")
        if (self.protocol or self.names or self.half) and not (self.dataset or self.ablate):
            raise UsageError("--protocol, --names and --half are for public sets: give --dataset and --root, too")


def evaluate_request(request: EvaluationRequest, *, quiet: bool = False) -> Mapping[str, Any]:
    """The result in the form of ``eval --json``, plus ``images`` with one row per picture unless ``ablate`` is set.

    Raises UsageError, ModelError, and MissingUpstreamError if the run directory has no dataset.
    """
    request.require_consistent()
    folder = find_model(request.model, request.work)
    if request.ablate:
        return _evaluate_ablation(request, folder, quiet=quiet)
    if request.dataset:
        return _evaluate_public_set(request, folder, quiet=quiet)
    return _evaluate_canvases(request, folder, quiet=quiet)


def _evaluate_ablation(request: EvaluationRequest, folder: Path, *, quiet: bool) -> Mapping[str, Any]:
    from pipeline.app.cropper.ablation import AblationTraining, ablate, parts_of
    from procrop_model.evaluation.evaluate_run import evaluate

    session = open_session(request.config, request.work, None)
    split = request.split or "test"
    parts = parts_of(request.ablate)
    root = local_folder(session)
    if not session.run.receipts("build"):
        raise MissingUpstreamError("eval needs the dataset: run 'procrop-data run' first")

    def measure(model: Path, k: int | None) -> Mapping[str, Any]:
        with progress_bar(f"eval {model.parent.name}", quiet) as progress:
            return evaluate(load_cropper(model, request.device), root / "dataset", split, k=k, progress=progress)

    training = AblationTraining(session, request.ablate_epochs, request.device, quiet)
    result = ablate(training, folder, parts, measure)
    path = root / "models" / "cropper" / f"ablation-{split}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1), encoding="utf-8")
    return result


def _evaluate_canvases(request: EvaluationRequest, folder: Path, *, quiet: bool) -> Mapping[str, Any]:
    """The run's own held-out canvases; the result of one model on one dataset is stored and reused."""
    from pipeline.app.cropper.evaluation_report import write_files

    session = open_session(request.config, request.work, None)
    split = request.split or "test"
    if not session.run.receipts("build"):
        raise MissingUpstreamError("eval needs the dataset: run 'procrop-data run' first, or name a public --dataset")
    root = local_folder(session, ["build"])
    home = root / "models" / "cropper"
    home.mkdir(parents=True, exist_ok=True)
    path = home / f"evaluation-{split}.json"
    key = key_of([VERSION, split, file_digest(str(folder / "config.json"))], session.run.receipts("build"))
    if not is_made_from(path, key):
        result = _measure(folder, root / "dataset", split, device=request.device, quiet=quiet)
        write_files(result, path, _canvas_pictures(root / "dataset", split))
        mark(path, key)
    stored: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return stored


def _measure(folder: Path, dataset: Path, split: str, *, device: str, quiet: bool) -> Mapping[str, Any]:
    from pipeline.app.cropper.train_overlap import overlap_warnings
    from procrop_model.evaluation.evaluate_run import evaluate

    cropper, margin = load_cropper(folder, device), _fitted_margin(dataset)
    try:
        with progress_bar("eval", quiet) as progress:
            result = evaluate(cropper, dataset, split, finders=_finders(margin), progress=progress)
    except ValueError as error:
        raise UsageError(str(error)) from error
    photos = {row["photo"] for row in result["images"]}
    return {**result, "saliency_margin": margin, "warnings": overlap_warnings(cropper, folder, photos)}


def _evaluate_public_set(request: EvaluationRequest, folder: Path, *, quiet: bool) -> Mapping[str, Any]:
    import sys

    from pipeline.app.cropper.evaluation_report import write_files
    from pipeline.app.cropper.train_overlap import content_keys, overlap_warnings
    from procrop_model.datasets.halves import half_set
    from procrop_model.datasets.registry import dataset_format
    from procrop_model.evaluation.evaluate_set import evaluate_set

    form = dataset_format(request.dataset)
    labelled = read_part(form, request.root, request.split, request.names)
    labelled = half_set(labelled, request.half) if request.half else labelled
    protocol = request.protocol or form.protocol
    if not quiet:
        print(f"{form.name} in {request.root}: {'; '.join(labelled.remarks())}", file=sys.stderr)
    keys = content_keys([image.path for image in labelled.images])
    cropper = load_cropper(folder, request.device)
    with progress_bar("eval", quiet) as progress:
        result = evaluate_set(cropper, labelled, protocol, finders=_finders(), keys=keys, progress=progress)
    warnings = overlap_warnings(cropper, folder, set(keys.values()))
    if protocol == "gencrop" and not request.names and form.name in ("flms", "fcdb"):
        warnings.append(f"gencrop's figures on {form.name} are for its human-only subset: give --names")
    out = Path(request.out)
    out.mkdir(parents=True, exist_ok=True)
    with_warnings = {**result, "warnings": warnings}
    pictures = {row["key"]: Path(row["photo"]).read_bytes for row in result["images"]}
    write_files(with_warnings, out / f"{form.name}-{protocol}.json", pictures)
    return with_warnings


def read_part(form: "Format", root: str, split: str, names: str = "") -> "LabelledSet":
    """A split of a public set, or the pictures of it that a file names. Raises UsageError if that file does not exist."""
    from procrop_model.datasets.checks import read_json
    from procrop_model.datasets.labelled import only

    labelled = form.read(root, split or form.split)
    if not names:
        return labelled
    path = Path(names)
    if not path.is_file():
        raise UsageError(f"--names '{names}': no such file")
    listed = read_json(path) if path.suffix == ".json" else path.read_text(encoding="utf-8").splitlines()
    return only(labelled, [str(name).strip() for name in listed if str(name).strip()])


def load_cropper(folder: Path, device: str) -> "Cropper":
    """The cropper of a folder, on a device; ``auto`` is a GPU if there is one."""
    import torch

    from procrop_model import Cropper

    chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    return Cropper.load(folder, device=chosen, precision="fp32")  # figures that compare between machines


def _finders(margin: float | None = None) -> "dict[str, Finder]":
    """The baselines that look at the picture, with the segmenter of the stages, which ``procrop_model`` must not import."""
    from procrop_model.evaluation.baselines import MARGIN, finders
    from stages.backends.vision.u2net import U2NetSegmenter

    return finders(U2NetSegmenter().segment, MARGIN if margin is None else margin)


def _fitted_margin(dataset: Path) -> float:
    """The margin of the saliency box, fitted on canvases at even distances in the train split."""
    from procrop_model.evaluation.baselines import fit_margin
    from procrop_model.training.samples import read_split
    from stages.backends.vision.u2net import U2NetSegmenter

    train, segmenter = read_split(dataset, "train", needed=False), U2NetSegmenter()
    samples = [train[index] for index in range(0, len(train), max(1, len(train) // FITTED))][:FITTED]
    masks = [segmenter.segment([sample.decode().image])[0] for sample in samples]
    return fit_margin(masks, [sample.photo_box for sample in samples])


def _canvas_pictures(dataset: Path, split: str) -> dict[str, Callable[[], bytes]]:
    """For each canvas key, a function that reads the JPEG bytes of the canvas."""
    from procrop_model.training.samples import read_split

    samples = read_split(dataset, split)
    return {key: partial(_canvas_bytes, samples, index) for index, key in enumerate(samples.keys)}


def _canvas_bytes(samples: "CanvasSet", index: int) -> bytes:
    return samples[index].image
