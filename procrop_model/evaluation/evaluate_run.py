"""Evaluation on canvases of held-out photos, beside baselines with fixed boxes and baselines that use the image."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from pipeline.core.geometry import Box, to_norm
from pipeline.core.json_types import JsonObject
from procrop_model.evaluation.baselines import NORM, Finder, Pixels, scaled
from procrop_model.evaluation.box_statistics import box_figures
from procrop_model.evaluation.metrics import CropMetrics, best_constant_box, bootstrap, crop_metrics
from procrop_model.evaluation.score_calibration import score_calibration
from procrop_model.inference.predictor import Floats
from procrop_model.training.samples import CanvasSample, read_split

PROTOCOL = "canvas: top-1 box against the photo's rectangle, IoU and BDE in original pixels; intervals drawn by photo"
MODEL = "model"
METRICS = ("iou", "bde", "recall")
Progress = Callable[[int, int], None]
Result = TypeVar("Result")
Figures = dict[str, dict[str, float]]  # of one image: method -> figure -> value


class CropperLike(Protocol):
    """What is evaluated: ``procrop_model.Cropper``, or any object with these methods."""

    @property
    def states_chances(self) -> bool:
        """Whether the scores of its proposals are the chance of an IoU of 0.75 with the best crop."""

    def propose(
        self, images: Sequence[Pixels], *, k: int | None = None, exclude: Sequence[Collection[str]] | None = None
    ) -> tuple[list[Floats], list[Floats]]:
        """Boxes [Q, 4] in pixels and scores [Q] of each image, best first."""

    def score_boxes(self, images: Sequence[Pixels], boxes: Sequence[Floats]) -> list[Floats]:
        """Scores [N] of given boxes [N, 4] in pixels, an array an image."""


class Stopwatch:
    """Milliseconds per image by method; the first image of each is not counted (warm-up)."""

    def __init__(self) -> None:
        self._times: dict[str, list[float]] = {}

    def run(self, name: str, work: Callable[[], Result]) -> Result:
        """The result of ``work``, which is timed under ``name``."""
        start = time.perf_counter()
        result = work()
        self._times.setdefault(name, []).append((time.perf_counter() - start) * 1000)
        return result

    def cost(self, cropper: object) -> dict[str, dict[str, float]]:
        """Median milliseconds per image by method, and the model's number of parameters."""
        costs = {name: {"ms": round(float(np.median(times[1:] or times)), 3)} for name, times in self._times.items()}
        if MODEL in costs:
            costs[MODEL]["parameters"] = parameters(cropper)
        return costs


def parameters(cropper: object) -> int:
    """Weights of a cropper's network, frozen ones too; 0 when it has none that can be counted."""
    return int(getattr(getattr(getattr(cropper, "predictor", None), "engine", None), "parameters", 0))


def evaluate(
    cropper: CropperLike,
    dataset_dir: Path | str,
    split: str = "test",
    *,
    k: int | None = None,
    finders: Mapping[str, Finder] | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The cropper and its baselines on a split of a dataset, in the form of ``eval --json``.

    Gives dataset, protocol, split, n (canvases), photos, ``rows`` by method with ``iou``, ``bde`` and ``recall`` as
    [mean, low, high], ``clear_of`` and ``differences`` (of these functions), what ``box_figures`` gives, ``calibration`` of a
    cropper whose scores are chances, ``cost`` by method, and
    ``images``: the figures of every method for each canvas. The constant box is fitted on the train split. A canvas's own photo
    is never among its references.

    Args:
        cropper: the model.
        dataset_dir: the dataset of a run.
        split: the split to evaluate on.
        k: references per canvas; by default the model's.
        finders: baselines that use the image, by name.
        progress: called with (done, total) canvases.

    Raises ValueError for an empty split.
    """
    samples = read_split(dataset_dir, split)
    if not samples:
        raise ValueError(f"the split '{split}' of {dataset_dir} is empty")
    watch = Stopwatch()
    boxes, scores = _predict(cropper, samples, k=k, finders=finders or {}, watch=watch, progress=progress)
    constant = _constant(dataset_dir)
    labels = list(samples.labels())
    fixed = {**NORM, "constant": constant}
    figures = [_figures(sample, of_image, fixed) for sample, of_image in zip(labels, boxes, strict=True)]
    photos = [sample.photo for sample in labels]
    methods = [MODEL, *fixed, *(finders or {})]
    reached = [of_image[MODEL]["recall"] for of_image in figures]
    rows = {method: summary([of_image[method] for of_image in figures], METRICS, photos) for method in methods}
    return {
        "dataset": Path(dataset_dir).name,
        "protocol": PROTOCOL,
        "split": split,
        "n": len(samples),
        "photos": len(set(photos)),
        "constant_box": [round(x, 4) for x in constant],
        "rows": rows,
        "clear_of": clear_of(rows),
        "differences": differences(figures, METRICS, photos),
        **_box_figures(labels, boxes, fixed, figures),
        **({"calibration": score_calibration(scores, reached, photos)} if cropper.states_chances else {}),
        "cost": watch.cost(cropper),
        "images": [_image_row(*of_image) for of_image in zip(labels, boxes, figures, strict=True)],
    }


def summary(
    figures: Sequence[Mapping[str, float]], names: Sequence[str], groups: Sequence[str]
) -> dict[str, list[float]]:
    """[mean, low, high] of each figure over images. groups: of each image, the unit that the bootstrap draws (its photo)."""
    return {name: [round(x, 4) for x in bootstrap([one[name] for one in figures], groups)] for name in names}


def differences(
    images: Sequence[Figures], names: Sequence[str], groups: Sequence[str]
) -> dict[str, dict[str, list[float]]]:
    """For each baseline, the model's figure minus the baseline's on the same image: [mean, low, high].

    More precise than comparing two intervals, since an image that is easy for one method tends to be easy for the other.
    """
    methods = [name for name in images[0] if name != MODEL]
    return {
        method: summary([{n: row[MODEL][n] - row[method][n] for n in names} for row in images], names, groups)
        for method in methods
    }


def clear_of(rows: Mapping[str, Mapping[str, Sequence[float]]]) -> dict[str, dict[str, bool]]:
    """For each baseline and figure, whether the model is better with intervals that do not overlap (``bde``: lower is better)."""
    model = rows[MODEL]
    return {
        method: {
            name: bool(model[name][2] < row[name][1] if name == "bde" else model[name][1] > row[name][2])
            for name in row
            if name in model
        }
        for method, row in rows.items()
        if method != MODEL
    }


def _predict(
    cropper: CropperLike, samples: Sequence[CanvasSample], *, k: int | None, finders: Mapping[str, Finder],
    watch: Stopwatch, progress: Progress | None,
) -> tuple[list[dict[str, list[float]]], list[float]]:  # fmt: skip
    """Boxes in pixels of the model and each finder for each canvas, and the model's scores of its own.

    One image at a time, so that the times are a user's.
    """
    predictions: list[dict[str, list[float]]] = []
    scores: list[float] = []
    for index in range(len(samples)):
        sample = samples[index]
        image = sample.decode().image
        boxes, ranked = watch.run(MODEL, partial(cropper.propose, [image], k=k, exclude=[{sample.photo}]))
        of_image = {MODEL: [float(x) for x in boxes[0][0]]}
        for name, finder in finders.items():
            of_image[name] = [float(x) for x in watch.run(name, partial(finder, image))]
        predictions.append(of_image)
        scores.append(float(ranked[0][0]))
        if progress is not None:
            progress(len(predictions), len(samples))
    return predictions, scores


def _constant(dataset_dir: Path | str) -> tuple[float, float, float, float]:
    train = read_split(dataset_dir, "train")
    return best_constant_box([to_norm(sample.photo_box, sample.width, sample.height) for sample in train.labels()])


def _figures(
    sample: CanvasSample, boxes: Mapping[str, Box], fixed: Mapping[str, tuple[float, float, float, float]]
) -> Figures:
    """Figures of each method's box of a canvas. boxes: in pixels; fixed: boxes in 0..1."""
    fixed_px = {name: scaled(norm, sample.width, sample.height) for name, norm in fixed.items()}
    return {name: asdict(_judge(box, sample)) for name, box in {**boxes, **fixed_px}.items()}


def _box_figures(
    samples: Sequence[CanvasSample], boxes: Sequence[Mapping[str, Box]],
    fixed: Mapping[str, tuple[float, float, float, float]], figures: Sequence[Figures],
) -> dict[str, object]:  # fmt: skip
    """What the boxes have in common with the photos' rectangles. boxes: in pixels; fixed: in 0..1."""
    sizes = [(sample.width, sample.height) for sample in samples]
    wanted = np.array([to_norm(sample.photo_box, *size) for sample, size in zip(samples, sizes, strict=True)])
    own = {
        method: np.array([to_norm(row[method], *size) for row, size in zip(boxes, sizes, strict=True)])
        for method in boxes[0]
    }
    own |= {name: np.tile(norm, (len(sizes), 1)) for name, norm in fixed.items()}
    ious = {method: np.array([row[method]["iou"] for row in figures]) for method in own}
    return box_figures(own, ious, wanted, [sample.photo for sample in samples])


def _image_row(sample: CanvasSample, boxes: Mapping[str, Box], figures: Figures) -> JsonObject:
    return {
        "key": sample.key,
        "photo": sample.photo,
        "box_px": [round(float(x), 2) for x in boxes[MODEL]],
        "photo_box": list(sample.photo_box),
        **figures,
    }


def _judge(box: Box, sample: CanvasSample) -> CropMetrics:
    return crop_metrics(box, [sample.photo_box], sample.width, sample.height)
