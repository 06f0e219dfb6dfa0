"""Evaluation on held-out photos' canvases, beside baselines that look at nothing and baselines that look at the picture."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from pipeline.core.geometry import Box, to_norm
from procrop_model.evaluation.baselines import NORM, Finder, Pixels, scaled
from procrop_model.evaluation.metrics import CropMetrics, best_constant_box, bootstrap, crop_metrics
from procrop_model.inference.predictor import Floats
from procrop_model.training.samples import CanvasSample, read_split

PROTOCOL = "canvas: top-1 box against the photo's rectangle, IoU and BDE in original pixels; intervals drawn by photo"
MODEL = "model"
METRICS = ("iou", "bde", "recall")
Progress = Callable[[int, int], None]
Result = TypeVar("Result")


class CropperLike(Protocol):
    """What is evaluated: ``procrop_model.Cropper``, or anything that proposes and scores boxes as it does."""

    def propose(
        self, images: Sequence[Pixels], *, k: int | None = None, exclude: Sequence[Collection[str]] | None = None
    ) -> tuple[list[Floats], list[Floats]]:
        """Boxes [Q, 4] in pixels and scores [Q] of each image, best first."""

    def score_boxes(self, images: Sequence[Pixels], boxes: Sequence[Floats]) -> list[Floats]:
        """Scores [N] of given boxes [N, 4] in pixels, an array an image."""


class Stopwatch:
    """Milliseconds a picture by method; the first of each is left out (it warms up)."""

    def __init__(self) -> None:
        self._seen: dict[str, list[float]] = {}

    def run(self, name: str, work: Callable[[], Result]) -> Result:
        """The result of some work on one picture."""
        start = time.perf_counter()
        result = work()
        self._seen.setdefault(name, []).append((time.perf_counter() - start) * 1000)
        return result

    def cost(self, cropper: object) -> dict[str, dict[str, float]]:
        """Median milliseconds a picture by method, and the model's number of parameters."""
        found = {name: {"ms": round(float(np.median(times[1:] or times)), 3)} for name, times in self._seen.items()}
        if MODEL in found:
            found[MODEL]["parameters"] = parameters(cropper)
        return found


def parameters(cropper: object) -> int:
    """Weights of a cropper's network, frozen ones too; 0 when it has none that can be counted."""
    network = getattr(getattr(cropper, "predictor", None), "network", None)
    return sum(weight.numel() for weight in network.parameters()) if network is not None else 0


def evaluate(
    cropper: CropperLike,
    dataset_dir: Path | str,
    split: str = "test",
    *,
    k: int | None = None,
    finders: Mapping[str, Finder] | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The cropper and its baselines on a split of the dataset, in the form of ``eval --json``.

    Gives dataset, protocol, split, n (canvases), photos, ``rows`` by method with ``iou``, ``bde`` and ``recall`` as
    [mean, low, high], ``clear_of`` and ``differences`` (see there), ``cost`` by method, and ``images``: one entry a canvas
    with every method's figures. The constant box is fitted on ``train``. finders: baselines that look at the picture, by name. A
    canvas's own photo is never among its references.
    """
    samples = read_split(dataset_dir, split)
    if not samples:
        raise ValueError(f"the split '{split}' of {dataset_dir} is empty")
    watch = Stopwatch()
    boxes = _predict(cropper, samples, k=k, finders=finders or {}, watch=watch, progress=progress)
    constant = _constant(dataset_dir)
    labels = list(samples.labels())
    fixed = {**NORM, "constant": constant}
    images = [_image_row(sample, found, fixed) for sample, found in zip(labels, boxes, strict=True)]
    photos = [sample.photo for sample in labels]
    methods = [MODEL, *fixed, *(finders or {})]
    rows = {method: summary([image[method] for image in images], METRICS, photos) for method in methods}
    return {
        "dataset": Path(dataset_dir).name,
        "protocol": PROTOCOL,
        "split": split,
        "n": len(samples),
        "photos": len(set(photos)),
        "constant_box": [round(x, 4) for x in constant],
        "rows": rows,
        "clear_of": clear_of(rows),
        "differences": differences(images, METRICS, photos),
        "cost": watch.cost(cropper),
        "images": images,
    }


def summary(
    figures: Sequence[Mapping[str, float]], names: Sequence[str], groups: Sequence[str]
) -> dict[str, list[float]]:
    """[mean, low, high] of each figure; groups: what the intervals draw."""
    return {name: [round(x, 4) for x in bootstrap([one[name] for one in figures], groups)] for name in names}


def differences(
    images: Sequence[Mapping[str, Any]], names: Sequence[str], groups: Sequence[str]
) -> dict[str, dict[str, list[float]]]:
    """For each baseline, the model's figure less the baseline's on the same picture: [mean, low, high].

    Sharper than two intervals side by side, for what is easy for one is easy for the other.
    """
    methods = [name for name, value in images[0].items() if isinstance(value, Mapping) and name != MODEL]
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
) -> list[dict[str, list[float]]]:  # fmt: skip
    """The box of the model and of each finder, a canvas: one picture at a time, as a user crops."""
    found: list[dict[str, list[float]]] = []
    for index in range(len(samples)):
        sample = samples[index]
        image = sample.decode().image
        boxes, _ = watch.run(MODEL, partial(cropper.propose, [image], k=k, exclude=[{sample.photo}]))
        one = {MODEL: [float(x) for x in boxes[0][0]]}
        for name, finder in finders.items():
            one[name] = [float(x) for x in watch.run(name, partial(finder, image))]
        found.append(one)
        if progress is not None:
            progress(len(found), len(samples))
    return found


def _constant(dataset_dir: Path | str) -> tuple[float, float, float, float]:
    train = read_split(dataset_dir, "train")
    return best_constant_box([to_norm(sample.photo_box, sample.width, sample.height) for sample in train.labels()])


def _image_row(
    sample: CanvasSample, boxes: Mapping[str, Box], fixed: Mapping[str, tuple[float, float, float, float]]
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "key": sample.key,
        "photo": sample.photo,
        "box_px": [round(float(x), 2) for x in boxes[MODEL]],
        "photo_box": list(sample.photo_box),
    }
    scaled_ones = {name: scaled(norm, sample.width, sample.height) for name, norm in fixed.items()}
    for name, box in {**boxes, **scaled_ones}.items():
        row[name] = asdict(_judge(box, sample))
    return row


def _judge(box: Box, sample: CanvasSample) -> CropMetrics:
    return crop_metrics(box, [sample.photo_box], sample.width, sample.height)
