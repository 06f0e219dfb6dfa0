"""Evaluation on held-out photos' canvases, beside the baselines that look at nothing."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.geometry import Box, to_norm
from procrop_model.data import CanvasSample, read_split
from procrop_model.infer import Cropper
from procrop_model.metrics import CropMetrics, best_constant_box, bootstrap, crop_metrics

PROTOCOL = "canvas: top-1 box against the photo's rectangle, IoU and BDE in original pixels; intervals drawn by photo"
MODEL = "model"
BASELINES: dict[str, tuple[float, float, float, float]] = {
    "identity": (0.0, 0.0, 1.0, 1.0),
    "centre_0.9": (0.05, 0.05, 0.95, 0.95),
}
Progress = Callable[[int, int], None]


def evaluate(
    cropper: Cropper,
    dataset_dir: Path | str,
    split: str = "test",
    *,
    k: int | None = None,
    batch: int = 8,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The cropper and its baselines on a split of the dataset, in the form of ``eval --json``.

    Gives dataset, protocol, split, n (canvases), photos, ``rows`` by method with ``iou``, ``bde`` and ``recall`` as
    [mean, low, high], and ``images``: one entry a canvas with every method's figures. The constant box is fitted on
    ``train``. A canvas's own photo is never among its references.
    """
    samples = read_split(dataset_dir, split)
    if not samples:
        raise ValueError(f"the split '{split}' of {dataset_dir} is empty")
    boxes = _predict(cropper, samples, k=k, batch=batch, progress=progress)
    constants = {**BASELINES, "constant": _constant(dataset_dir)}
    labels = list(samples.labels())
    images = [_image_row(sample, box, constants) for sample, box in zip(labels, boxes, strict=True)]
    photos = [sample.photo for sample in labels]
    return {
        "dataset": Path(dataset_dir).name,
        "protocol": PROTOCOL,
        "split": split,
        "n": len(samples),
        "photos": len(set(photos)),
        "constant_box": [round(x, 4) for x in constants["constant"]],
        "rows": {method: _summary(images, method, photos) for method in (MODEL, *constants)},
        "images": images,
    }


def _predict(
    cropper: Cropper, samples: Sequence[CanvasSample], *, k: int | None, batch: int, progress: Progress | None
) -> list[list[float]]:
    top: list[list[float]] = []
    for start in range(0, len(samples), batch):
        chosen = [samples[index] for index in range(start, min(start + batch, len(samples)))]
        images = [sample.decode().image for sample in chosen]
        found, _ = cropper.propose(images, k=k, exclude=[{sample.photo} for sample in chosen])
        top += [[float(x) for x in rows[0]] for rows in found]
        if progress is not None:
            progress(len(top), len(samples))
    return top


def _constant(dataset_dir: Path | str) -> tuple[float, float, float, float]:
    train = read_split(dataset_dir, "train")
    return best_constant_box([to_norm(sample.photo_box, sample.width, sample.height) for sample in train.labels()])


def _image_row(
    sample: CanvasSample, box: Box, constants: dict[str, tuple[float, float, float, float]]
) -> dict[str, Any]:
    width, height = sample.width, sample.height
    row: dict[str, Any] = {
        "key": sample.key,
        "photo": sample.photo,
        "box_px": [round(float(x), 2) for x in box],
        "photo_box": list(sample.photo_box),
        MODEL: asdict(_judge(box, sample)),
    }
    for name, norm in constants.items():
        row[name] = asdict(_judge((norm[0] * width, norm[1] * height, norm[2] * width, norm[3] * height), sample))
    return row


def _judge(box: Box, sample: CanvasSample) -> CropMetrics:
    return crop_metrics(box, [sample.photo_box], sample.width, sample.height)


def _summary(images: Sequence[dict[str, Any]], method: str, photos: Sequence[str]) -> dict[str, list[float]]:
    return {
        name: [round(x, 4) for x in bootstrap([row[method][name] for row in images], photos)]
        for name in ("iou", "bde", "recall")
    }
