"""Evaluation on the public cropping sets, by the protocols of METHOD 6, each under its name."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.core.errors import DamagedDataError, UsageError
from pipeline.core.geometry import Box
from procrop_model.datasets.labelled import LabelledImage, LabelledSet
from procrop_model.datasets.registry import PAIRS
from procrop_model.evaluation.baselines import NORM, Finder, Pixels, scaled
from procrop_model.evaluation.box_statistics import box_figures
from procrop_model.evaluation.evaluate_run import MODEL, Progress, Stopwatch, clear_of, differences, summary
from procrop_model.evaluation.face_cuts import face_figures
from procrop_model.evaluation.judges import (
    BOX_PROTOCOLS,
    EPS,
    JUDGES,
    PAIR_KINDS,
    PROTOCOLS,
    ImageCase,
    ImageResult,
    ordered,
)
from procrop_model.evaluation.metrics import bootstrap
from procrop_model.evaluation.score_calibration import score_calibration
from procrop_model.evaluation.set_metrics import ap_interval
from procrop_model.evaluation.sources import BoxSource
from procrop_model.inference.crop_options import FaceFinder

WITH_FACES, WITHOUT_FACES = "with faces", "without faces"  # groups that are reported where no others are given
NormBox = tuple[float, float, float, float]
Faces = NDArray[np.float32]
Rows = dict[str, dict[str, list[float]]]


@dataclass(frozen=True)
class SetContext:
    """What a set is evaluated with, beside the model.

    Args:
        finders: baselines that use the image, by name.
        floors: further baselines of one box in 0..1, by name, beside NORM.
        keys: content key of each image file, so that an image is never a reference of its own crop.
        groups: of each image file, the group that it is also reported in; a file without one is in none.
        faces: finds the faces of an image, for protocols of boxes; None: faces are not looked for.
    """

    finders: Mapping[str, Finder] = field(default_factory=dict)
    floors: Mapping[str, NormBox] = field(default_factory=dict)
    keys: Mapping[Path, str] = field(default_factory=dict)
    groups: Mapping[Path, str] = field(default_factory=dict)
    faces: FaceFinder | None = None


NOTHING_BESIDE = SetContext()


def evaluate_set(
    source: BoxSource,
    labelled: LabelledSet,
    protocol: str,
    *,
    context: SetContext = NOTHING_BESIDE,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """A cropper, scorer or file of boxes and its baselines on a public set, in the form of ``evaluate``.

    Intervals are drawn by image file. Protocols of boxes also give ``correlations`` with the person's box and ``areas`` by
    method, ``by_size``: IoU by the size of the person's crop, and for a source that states chances ``calibration``; with a finder
    of faces also ``faces``: how many there are and which share each method cuts. ``groups`` has ``n`` and ``rows`` of each group
    of images, by default those with faces and those without.

    Args:
        source: what is measured.
        labelled: the set.
        protocol: a key of PROTOCOLS.
        context: baselines, and what is known of the images.
        progress: called with (done, total) images.

    Raises UsageError for an unknown protocol, or a set without images that have the annotations the protocol needs.
    """
    if protocol not in JUDGES:
        raise UsageError(f"no protocol '{protocol}': known are {', '.join(PROTOCOLS)}")
    usable = _usable(labelled, protocol)
    watch, results, faces = Stopwatch(), [], []
    find = context.faces if protocol in BOX_PROTOCOLS else None
    for number, image in enumerate(usable, 1):
        case = _case(source, image, watch, context)
        results.append(JUDGES[protocol](case))
        if find is not None:
            faces.append(watch.run("faces", partial(find, case.pixels)))
        if progress is not None:
            progress(number, len(usable))
    photos = [str(image.path) for image in usable]
    rows = _rows(results, photos, protocol)
    groups = context.groups or _by_faces(usable, faces)
    return {
        "dataset": labelled.name,
        "protocol": PROTOCOLS[protocol],
        "split": "+".join(labelled.splits()) or "all",
        "n": len(usable),
        "rows": rows,
        "clear_of": clear_of(rows),
        "differences": _differences(results, photos, protocol),
        **(_box_figures(results, photos) if protocol in BOX_PROTOCOLS else {}),
        **(_calibration(results, photos) if protocol in BOX_PROTOCOLS and source.states_chances else {}),
        **({"pairs": _pair_counts(results)} if protocol == PAIRS else {}),
        **({"faces": _face_figures(results, faces, photos)} if faces else {}),
        **({"groups": _groups(results, usable, groups, protocol)} if groups else {}),
        "floors": {name: _rounded(box) for name, box in context.floors.items()},
        "cost": watch.cost(getattr(source, "cropper", None)),
        "remarks": labelled.remarks(),
        "images": [result.as_json(image) for result, image in zip(results, usable, strict=True)],
    }


def _usable(labelled: LabelledSet, protocol: str) -> list[LabelledImage]:
    """The images that a protocol can judge; UsageError if there are none."""
    usable = [image for image in labelled.images if (ordered(image.pairs) if protocol == PAIRS else image.boxes)]
    if not usable:
        raise UsageError(
            f"'{labelled.name}' has no picture that the protocol '{protocol}' can judge: {'; '.join(labelled.remarks())}"
        )
    return usable


def _case(source: BoxSource, image: LabelledImage, watch: Stopwatch, context: SetContext) -> ImageCase:
    pixels, fixed = _pixels(image), {**NORM, **context.floors}
    single: dict[str, Box] = {name: scaled(norm, image.width, image.height) for name, norm in fixed.items()}
    for name, finder in context.finders.items():
        single[name] = watch.run(name, partial(finder, pixels))
    return ImageCase(image, pixels, source, watch, single, context.keys.get(image.path, ""))


def _pixels(image: LabelledImage) -> Pixels:
    try:
        with Image.open(image.path) as opened:
            return np.asarray(opened.convert("RGB"))
    except (OSError, ValueError, SyntaxError) as error:
        raise DamagedDataError(
            f"{image.path}: expected a picture, but it does not decode ({str(error)[:80]})"
        ) from error


def _rows(results: Sequence[ImageResult], photos: Sequence[str], protocol: str) -> Rows:
    """Each method's figures over images, as [mean, low, high]."""
    return {method: _row(results, method, photos, protocol) for method in results[0].figures}


def _row(results: Sequence[ImageResult], method: str, photos: Sequence[str], protocol: str) -> dict[str, list[float]]:
    if protocol == PAIRS:
        return _pair_row(results, photos, lambda pairs: pairs[method])
    figures = [result.figures[method] for result in results]
    intervals = summary(figures, list(figures[0]), photos)
    if protocol == EPS:
        intervals["ap"] = _rounded(ap_interval([result.ranked[method] for result in results]))
    return intervals


def _pair_row(
    results: Sequence[ImageResult], photos: Sequence[str], value: Callable[[Mapping[str, list[float]]], Sequence[float]]
) -> dict[str, list[float]]:
    """Means over the pairs of each kind that the set has; a pair counts once, photographs are drawn.

    value: from an image's agreement by method, one number a pair.
    """
    row = {}
    for kind in PAIR_KINDS:
        values = [value(result.pairs[kind]) for result in results]
        owners = [photo for photo, of_image in zip(photos, values, strict=True) for _ in of_image]
        if owners:
            row[kind] = _rounded(bootstrap([x for of_image in values for x in of_image], owners))
    return row


def _differences(results: Sequence[ImageResult], photos: Sequence[str], protocol: str) -> Rows:
    """The model's figure minus that of each baseline, on the same image or pair."""
    if protocol != PAIRS:
        return differences([result.figures for result in results], list(results[0].figures[MODEL]), photos)
    return {
        method: _pair_row(results, photos, partial(_minus, method)) for method in results[0].figures if method != MODEL
    }


def _minus(method: str, pairs: Mapping[str, list[float]]) -> list[float]:
    return [own - other for own, other in zip(pairs[MODEL], pairs[method], strict=True)]


def _pair_counts(results: Sequence[ImageResult]) -> dict[str, int]:
    return {kind: sum(len(result.pairs[kind][MODEL]) for result in results) for kind in PAIR_KINDS}


def _box_figures(results: Sequence[ImageResult], photos: Sequence[str]) -> dict[str, object]:
    """Correlations and areas by method, and IoU by the size of the person's crop."""
    wanted = np.stack([result.person for result in results if result.person is not None])
    own = {method: np.stack([result.boxes[method] for result in results]) for method in results[0].boxes}
    ious = {method: np.array([result.figures[method]["iou"] for result in results]) for method in own}
    return box_figures(own, ious, wanted, photos)


def _calibration(results: Sequence[ImageResult], photos: Sequence[str]) -> dict[str, object]:
    scores = [result.score or 0.0 for result in results]
    return {"calibration": score_calibration(scores, [one.figures[MODEL]["recall"] for one in results], photos)}


def _face_figures(results: Sequence[ImageResult], faces: Sequence[Faces], photos: Sequence[str]) -> dict[str, object]:
    own = {method: [result.boxes[method] for result in results] for method in results[0].boxes}
    return face_figures(own, faces, photos)


def _by_faces(images: Sequence[LabelledImage], faces: Sequence[Faces]) -> dict[Path, str]:
    """The images with faces and those without as groups; none if no faces were looked for."""
    if not faces:
        return {}
    return {image.path: WITH_FACES if len(found) else WITHOUT_FACES for image, found in zip(images, faces, strict=True)}


def _groups(
    results: Sequence[ImageResult], images: Sequence[LabelledImage], groups: Mapping[Path, str], protocol: str
) -> dict[str, object]:
    """``n`` and ``rows`` of each group, in the order of their names."""
    reported: dict[str, object] = {}
    for name in sorted(set(groups.values())):
        chosen = [i for i, image in enumerate(images) if groups.get(image.path) == name]
        if chosen:
            photos = [str(images[i].path) for i in chosen]
            rows = _rows([results[i] for i in chosen], photos, protocol)
            reported[name] = {"n": len(chosen), "rows": rows}
    return reported


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(x, 4) for x in values]
