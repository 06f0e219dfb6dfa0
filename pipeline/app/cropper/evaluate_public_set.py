"""Evaluate a cropper, a scorer or a file of boxes on a public cropping set, beside baselines."""

import csv
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.app.cropper.evaluation_request import EvaluationRequest
from pipeline.app.cropper.measured_models import boxes_source, image_finders, load_cropper, scorer_source
from pipeline.app.cropper.reliability_diagram import draw_reliability_diagram
from pipeline.app.cropper.size_scatter import draw_size_scatter
from pipeline.app.progress_bar import progress_bar
from pipeline.core.errors import UsageError

if TYPE_CHECKING:
    from procrop_model.datasets.labelled import LabelledSet
    from procrop_model.datasets.registry import Format
    from procrop_model.evaluation.sources import BoxSource

CONSTANT = "constant_choose"  # the best constant box of the half `choose`


def evaluate_public_set(request: EvaluationRequest, folder: Path, *, quiet: bool) -> Mapping[str, Any]:
    """The figures of a set, in the form of ``eval --json``; also written to ``request.out``. folder: of the cropper."""
    from pipeline.app.cropper.train_overlap import content_keys, overlap_warnings
    from procrop_model.datasets.registry import dataset_format
    from procrop_model.evaluation.evaluate_set import SetContext, evaluate_set
    from procrop_model.evaluation.sources import CropperSource
    from procrop_model.inference.crop_options import face_finder

    form = dataset_format(request.dataset)
    whole = read_part(form, request.root, request.split, request.names)
    labelled = _half(whole, request.half)
    protocol = request.protocol or form.protocol
    if not quiet:
        print(f"{form.name} in {request.root}: {'; '.join(labelled.remarks())}", file=sys.stderr)
    keys = content_keys([image.path for image in labelled.images])
    given = _given_source(request, labelled)
    cropper = load_cropper(folder, request.device) if given is None else None
    source = CropperSource(cropper) if cropper is not None else given
    assert source is not None
    finders = {} if request.quick else image_finders()
    finder = face_finder("off" if request.quick else "keep")
    context = SetContext(finders, _floors(whole, request.half, protocol), keys, _groups(request, labelled), finder)
    with progress_bar("eval", quiet) as progress:
        result = evaluate_set(
            _seen_at(source, request.long_side), labelled, protocol, context=context, progress=progress
        )
    warnings = overlap_warnings(cropper, folder, set(keys.values())) if cropper is not None else []
    if protocol == "gencrop" and not request.names and form.name in ("flms", "fcdb"):
        warnings.append(f"gencrop's figures on {form.name} are for its human-only subset: give --names")
    result = {"measured": _measured(request), **result, "warnings": warnings}
    if request.refit_calibration:
        result["refitted"] = _refit(result, folder)
    _write(result, Path(request.out), "-".join(filter(None, (form.name, protocol, *_variant(request)))))
    return result


def _refit(result: Mapping[str, Any], folder: Path) -> list[float]:
    """Slope and offset of the new calibration, which is written into the model."""
    from procrop_model.model_folder.refit_scores import refit_scores

    if "calibration" not in result:
        raise UsageError(f"--refit-calibration: the scores of {folder} are not chances by this protocol")
    rows = result["images"]
    return list(refit_scores(folder, [row["score"] for row in rows], [row["model"]["recall"] > 0 for row in rows]))


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


def _half(labelled: "LabelledSet", half: str) -> "LabelledSet":
    from procrop_model.datasets.halves import half_set

    return half_set(labelled, half) if half else labelled


def _given_source(request: EvaluationRequest, labelled: "LabelledSet") -> "BoxSource | None":
    """The file of boxes or the scorer that the request names; None for a cropper."""
    if request.boxes:
        return boxes_source(request.boxes, labelled.images)
    return scorer_source(request.scorer) if request.scorer else None


def _seen_at(source: "BoxSource", long_side: int) -> "BoxSource":
    from procrop_model.evaluation.sources import ResizedSource

    return ResizedSource(source, long_side) if long_side else source


def _floors(whole: "LabelledSet", half: str, protocol: str) -> dict[str, tuple[float, float, float, float]]:
    """For the half `check` and a protocol of boxes: the constant box that is best on the half `choose`."""
    from pipeline.core.geometry import to_norm
    from procrop_model.datasets.halves import CHECK, CHOOSE, half_set
    from procrop_model.evaluation.judges import BOX_PROTOCOLS
    from procrop_model.evaluation.metrics import best_constant_box

    if half != CHECK or protocol not in BOX_PROTOCOLS:
        return {}
    images = half_set(whole, CHOOSE).images
    wanted = [to_norm(box, image.width, image.height) for image in images for box in image.boxes]
    return {CONSTANT: best_constant_box(wanted)} if wanted else {}


def _groups(request: EvaluationRequest, labelled: "LabelledSet") -> dict[Path, str]:
    from procrop_model.datasets.box_file import read_group_file

    return read_group_file(request.groups, labelled.images) if request.groups else {}


def _measured(request: EvaluationRequest) -> str:
    if request.boxes:
        return f"boxes of {Path(request.boxes).name}"
    return f"scorer {request.scorer}" if request.scorer else "cropper"


def _variant(request: EvaluationRequest) -> list[str]:
    """Parts of the name of the files, so that variants do not overwrite one another."""
    side = f"{request.long_side}px" if request.long_side else ""
    return [Path(request.boxes).stem, Path(request.scorer).name, request.half, side]


def _write(result: Mapping[str, Any], out: Path, name: str) -> None:
    from pipeline.app.cropper.evaluation_report import write_files

    out.mkdir(parents=True, exist_ok=True)
    write_files(result, out / f"{name}.json", {row["key"]: Path(row["photo"]).read_bytes for row in result["images"]})
    write_boxes(result["images"], out / f"{name}-boxes.csv")
    if "correlations" in result:
        draw_size_scatter(result["images"], result["correlations"]["model"]["area"], out / f"{name}-sizes.png")
    if "calibration" in result:
        draw_reliability_diagram(result["calibration"], out / f"{name}-calibration.png")


def write_boxes(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """The first box of each image as CSV, which ``eval --boxes`` reads; nothing if the protocol gives no boxes."""
    chosen = [[row["key"], *row["box_px"]] for row in rows if row["box_px"]]
    if chosen:
        with path.open("w", encoding="utf-8", newline="") as sink:
            csv.writer(sink, lineterminator="\n").writerows([["file", "x1", "y1", "x2", "y2"], *chosen])
