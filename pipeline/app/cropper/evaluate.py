"""Evaluate a cropper beside its baselines: on a run's held-out canvases, or on a public cropping set."""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.app.crop_files.inputs import find_model
from pipeline.app.cropper.evaluate_public_set import evaluate_public_set
from pipeline.app.cropper.evaluation_request import EvaluationRequest
from pipeline.app.cropper.measured_models import image_finders, load_cropper
from pipeline.app.progress_bar import progress_bar
from pipeline.app.result_stamp import is_made_from, key_of, mark
from pipeline.app.session import local_folder, open_session
from pipeline.core.errors import MissingUpstreamError, UsageError
from pipeline.core.resources import file_digest

if TYPE_CHECKING:
    from pipeline.app.session import Session
    from procrop_model.training.samples import CanvasSet

FITTED = 48  # train canvases that the margin of the saliency box is fitted on
VERSION = 4  # of the result of a run's evaluation; a higher one makes stored results stale


def evaluate_request(request: EvaluationRequest, *, quiet: bool = False) -> Mapping[str, Any]:
    """The result in the form of ``eval --json``, plus ``images`` with one row per picture unless ``ablate`` is set.

    Raises UsageError, ModelError, and MissingUpstreamError if the run directory has no dataset.
    """
    request.require_consistent()
    folder = find_model(request.model, request.work)
    if request.ablate:
        return _evaluate_ablation(request, folder, quiet=quiet)
    if request.dataset:
        return evaluate_public_set(request, folder, quiet=quiet)
    return _evaluate_canvases(request, folder, quiet=quiet)


def _evaluate_ablation(request: EvaluationRequest, folder: Path, *, quiet: bool) -> Mapping[str, Any]:
    from pipeline.app.cropper.ablation import AblationTraining, ablate, parts_of
    from procrop_model.evaluation.evaluate_run import evaluate

    session = open_session(request.config, request.work, None, start=False)
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

    session = open_session(request.config, request.work, None, start=False)
    split = request.split or "test"
    if not session.run.receipts("build"):
        raise MissingUpstreamError("eval needs the dataset: run 'procrop-data run' first, or name a public --dataset")
    _require_split(session, split)
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


def _require_split(session: "Session", split: str) -> None:
    """Raise UsageError, before any model is loaded, if the dataset has no sample of the split."""
    counts: Counter[str] = Counter()
    for receipt in session.run.receipts("build"):
        for path in receipt.outputs:
            if path.endswith(".tar"):
                counts[path.rsplit("/", 1)[-1].split("-")[-2]] += receipt.n_kept
    if not counts[split]:
        found = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
        raise UsageError(
            f"the dataset has no sample of the split '{split}' ({found}): add photographs, give more a '{split}' in the column "
            "'split' of credits.csv, or measure another with --split"
        )


def _measure(folder: Path, dataset: Path, split: str, *, device: str, quiet: bool) -> Mapping[str, Any]:
    from pipeline.app.cropper.train_overlap import overlap_warnings
    from procrop_model.evaluation.evaluate_run import evaluate

    cropper, margin = load_cropper(folder, device), _fitted_margin(dataset)
    try:
        with progress_bar("eval", quiet) as progress:
            result = evaluate(cropper, dataset, split, finders=image_finders(margin), progress=progress)
    except ValueError as error:
        raise UsageError(str(error)) from error
    photos = {row["photo"] for row in result["images"]}
    return {**result, "saliency_margin": margin, "warnings": overlap_warnings(cropper, folder, photos)}


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
