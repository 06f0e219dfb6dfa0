"""Cropping files: decoded ahead by threads, looked at in batches, written one by one; a bad file never stops the others."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.app.crop_files.outputs import xmp_of
from pipeline.core.errors import UsageError
from pipeline.core.geometry import to_norm

if TYPE_CHECKING:
    from PIL import Image

    from procrop_model.cropper import Crop, Cropper, Limits
    from procrop_model.inference.image_input import Original
    from procrop_model.retrieval.database import Reference

DECODERS = 2


@dataclass(frozen=True)
class CropTask:
    """What is asked of every file. out: folder for crops, or None; places: subfolder of ``out`` by file; keep: further boxes
    to keep by file name; explained: whether the explanation is told; picture: whether it is drawn too.
    """

    aspect: str = ""
    size: str = ""
    top: int = 0
    limits: "Limits | None" = None
    out: Path | None = None
    places: Mapping[Path, Path] = field(default_factory=dict)
    keep: Mapping[str, Sequence[tuple[float, float, float, float]]] = field(default_factory=dict)
    explained: bool = False
    picture: bool = False
    xmp: bool = False
    thumbnails: "Callable[[Reference], Image.Image | None] | None" = None


def crop_files(cropper: "Cropper", files: Sequence[Path], task: CropTask, batch: int = 8) -> Iterator[dict[str, Any]]:
    """What ``crop --json`` says of each file, in order; ``made`` lists what was written."""
    groups = [files[start : start + batch] for start in range(0, len(files), batch)]
    side = cropper.small_side(task.limits)
    with ThreadPoolExecutor(DECODERS) as pool:
        ahead = [pool.submit(_opened, file, side) for file in (groups[0] if groups else [])]
        for number, group in enumerate(groups):
            ready, ahead = ahead, [pool.submit(_opened, f, side) for g in groups[number + 1 : number + 2] for f in g]
            yield from _group(cropper, group, ready, task)


def _opened(file: Path, side: int) -> "Original":
    """Raises OSError, SyntaxError, ValueError or DecompressionBombError for what is no picture."""
    from procrop_model.inference.image_input import Original

    original = Original(file)
    original.small(side)
    return original


def _group(
    cropper: "Cropper", files: Sequence[Path], ready: "Sequence[Future[Original]]", task: CropTask
) -> Iterator[dict[str, Any]]:
    from PIL import Image

    good: dict[Path, Original] = {}
    told: dict[Path, dict[str, Any]] = {}
    for file, future in zip(files, ready, strict=True):
        try:
            good[file] = future.result()
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            told[file] = _failed(file, error)
    try:
        found = dict(zip(good, _cropped(cropper, good, task), strict=True)) if good else {}
    except UsageError:  # of one of them, whose size a wish does not fit: each alone, to find it
        found = {}
        for file, original in good.items():
            try:
                (found[file],) = _cropped(cropper, {file: original}, task)
            except UsageError as error:
                if len(files) == 1:
                    raise
                told[file] = _failed(file, error)
    for file in files:
        if file in found:
            try:
                told[file] = _entry(file, found[file], task)
            except OSError as error:  # a file that decodes small only
                told[file] = _failed(file, error)
            good[file].release()
        yield told[file]


def _cropped(cropper: "Cropper", originals: "Mapping[Path, Original]", task: CropTask) -> "list[list[Crop]]":
    from procrop_model.cropper import Limits

    base = task.limits or Limits()
    limits = [replace(base, keep=[*base.keep, *task.keep.get(file.name, ())]) for file in originals]
    return cropper.crop_many(
        list(originals.values()),
        aspect=task.aspect or None,
        size=task.size or None,
        top=task.top or None,
        limits=limits,
    )


def _failed(file: Path, error: Exception) -> dict[str, Any]:
    return {
        "file": str(file), "width": 0, "height": 0, "crops": [], "files": [], "made": [],
        "error": str(error).split(" at 0x")[0],
    }  # fmt: skip


def _entry(file: Path, crops: "Sequence[Crop]", task: CropTask) -> dict[str, Any]:
    width, height = crops[0].original.size
    entry: dict[str, Any] = {"file": str(file), "width": width, "height": height, "files": [], "made": []}
    entry["crops"] = [_told(crop, task.explained) for crop in crops]
    if task.out is not None:
        out = task.out / task.places.get(file, Path())
        out.mkdir(parents=True, exist_ok=True)
        entry["files"] = [_save(crop, out, file, number) for number, crop in enumerate(crops, 1)]
        entry["made"] = [*entry["files"], *_beside(file, crops[0], out, task)]
    return entry


def _told(crop: "Crop", explained: bool) -> dict[str, Any]:
    told: dict[str, Any] = {
        "box_px": list(crop.box_px), "score": crop.score, "aspect": round(crop.aspect, 4),
        "whole_score": crop.whole_score, "subject_kept": crop.subject_kept, "fulfilled": crop.fulfilled,
        "unchanged": crop.unchanged, "references": crop.references,
    }  # fmt: skip
    return {**told, "explanation": crop.explain().as_json()} if explained else told


def _beside(file: Path, best: "Crop", out: Path, task: CropTask) -> list[str]:
    """Writes the sidecar and the picture of the explanation of the best crop, where they are asked for."""
    made, stem = [], f"{file.stem}{_mark(file)}"
    if task.xmp:
        box = to_norm(best.box_px, *best.original.size)
        (out / f"{stem}.xmp").write_text(xmp_of(box, best.original.orientation), encoding="utf-8")
        made.append(str(out / f"{stem}.xmp"))
    if task.picture:
        target = out / f"{stem}_why.png"
        best.explain_picture(task.thumbnails).save(target)
        made.append(str(target))
    return made


def _save(crop: "Crop", out: Path, file: Path, number: int) -> str:
    """Writes one crop under a name that says whose it is; the suffix tells apart ``a.png`` and ``a.jpg``."""
    width, height = crop.size or (crop.box_px[2] - crop.box_px[0], crop.box_px[3] - crop.box_px[1])
    target = out / f"{file.stem}{_mark(file)}_crop{number}_{width}x{height}.jpg"
    crop.save(target)
    return str(target)


def _mark(file: Path) -> str:
    kind = file.suffix.lower().lstrip(".")
    return "" if kind in ("jpg", "jpeg") else f"_{kind}"
