"""Crop files in batches: threads decode ahead, the network sees a batch at a time, and a bad file never stops the others."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pipeline.app.crop_files.entries import CropRecord, PhotoRecord
from pipeline.app.crop_files.names import DEFAULT_NAME, TakenNames, crop_names
from pipeline.app.crop_files.outputs import xmp_of
from pipeline.app.crop_files.resume import CropLedger
from pipeline.core.errors import UsageError
from pipeline.core.geometry import to_norm

if TYPE_CHECKING:
    from PIL import Image

    from procrop_model.cropper import Crop, Cropper, Limits
    from procrop_model.inference.image_input import Original
    from procrop_model.retrieval.database import Reference

DECODERS = 2  # threads that decode the next batch


@dataclass(frozen=True)
class CropTask:
    """How every file is cropped.

    Args:
        aspect: aspect ratios, for example ``4:5`` or ``1:1,free``; empty: free.
        size: exact output size, for example ``1080x1350``; empty: as cropped.
        top: crops per photograph at most; 0: 3, or 1 for each of several aspect ratios.
        upscale: whether crops with less pixels than ``size`` are enlarged; else their photographs are errors.
        limits: what a crop must keep; None: nothing.
        out: folder for the crops; None: nothing is written.
        places: subfolder of ``out`` by file.
        keep: further boxes that must stay inside, by file, as (x1, y1, x2, y2) in upright pixels.
        marks: what is added to the names of the outputs of a file, by file, where others would have the same names.
        explained: whether entries hold the explanation of each crop.
        picture: whether the explanation of the best crop is drawn to a file.
        xmp: whether an XMP sidecar with the best crop is written.
        suffix: of the crops, such as ``.jpg``; empty: by the format of the photograph.
        quality: of JPEG and WebP, 1 to 100; 0: that of the photograph.
        keep_gps: whether crops keep the place in EXIF and XMP.
        lossless: whether crops of JPEG files begin at blocks of the file, which are copied.
        name: template of the crops' names.
        names: which names outputs may have.
        ledger: where photographs are recorded with their outputs; None: nowhere.
        again: whether outputs of a photograph by other options may be replaced.
        thumbnails: gives the picture of a reference for the drawn explanation, or None.
    """

    aspect: str = ""
    size: str = ""
    top: int = 0
    upscale: bool = True
    limits: "Limits | None" = None
    out: Path | None = None
    places: Mapping[Path, Path] = field(default_factory=dict)
    keep: Mapping[Path, Sequence[tuple[float, float, float, float]]] = field(default_factory=dict)
    marks: Mapping[Path, str] = field(default_factory=dict)
    explained: bool = False
    picture: bool = False
    xmp: bool = False
    suffix: str = ""
    quality: int = 0
    keep_gps: bool = False
    lossless: bool = False
    name: str = DEFAULT_NAME
    names: TakenNames = field(default_factory=lambda: TakenNames(overwrite=True))
    ledger: CropLedger | None = None
    again: bool = False
    thumbnails: "Callable[[Reference], Image.Image | None] | None" = None


class CroppedFile(NamedTuple):
    """The entry of a file, and the paths of everything that was written for it."""

    entry: PhotoRecord
    written: list[str]


def crop_files(cropper: "Cropper", files: Sequence[Path], task: CropTask, batch: int = 8) -> Iterator[CroppedFile]:
    """Crop each file, in order. batch: photographs in one pass of the network."""
    groups = [files[start : start + batch] for start in range(0, len(files), batch)]
    side = cropper.small_side(task.limits)
    with ThreadPoolExecutor(DECODERS) as pool:
        ahead = [pool.submit(_decode, file, side) for file in (groups[0] if groups else [])]
        for number, group in enumerate(groups):
            ready, ahead = ahead, [pool.submit(_decode, f, side) for g in groups[number + 1 : number + 2] for f in g]
            yield from _crop_group(cropper, group, ready, task)


def _decode(file: Path, side: int) -> "Original":
    """Raises OSError if the file cannot be read or decoded."""
    from procrop_model.inference.image_input import Original

    original = Original(file)
    original.small(side)
    return original


def _crop_group(
    cropper: "Cropper", files: Sequence[Path], ready: "Sequence[Future[Original]]", task: CropTask
) -> Iterator[CroppedFile]:
    decoded: dict[Path, Original] = {}
    results: dict[Path, CroppedFile] = {}
    for file, future in zip(files, ready, strict=True):
        try:
            decoded[file] = future.result()
        except OSError as error:
            results[file] = _failure(file, error)
    try:
        crops = dict(zip(decoded, _crop(cropper, decoded, task), strict=True)) if decoded else {}
    except UsageError:  # the options do not fit one of them: each alone, to find out which
        crops = {}
        for file, original in decoded.items():
            try:
                (crops[file],) = _crop(cropper, {file: original}, task)
            except UsageError as error:
                if len(files) == 1:
                    raise
                results[file] = _failure(file, error)
    for file in files:
        if file in crops and not task.upscale and (small := _too_small(crops[file])):
            results[file] = _failure(file, UsageError(small))
        elif file in crops:
            try:
                results[file] = _write(file, crops[file], task)
            except (OSError, UsageError) as error:  # a file that only decodes at a reduced size, a name that is taken
                results[file] = _failure(file, error)
        if file in decoded:
            decoded[file].release()
        yield results[file]


def _crop(cropper: "Cropper", originals: "Mapping[Path, Original]", task: CropTask) -> "list[list[Crop]]":
    from procrop_model.cropper import Limits

    base = task.limits or Limits()
    limits = [replace(base, keep=[*base.keep, *task.keep.get(file, ())]) for file in originals]
    return cropper.crop_many(
        list(originals.values()),
        aspect=task.aspect or None,
        size=task.size or None,
        top=task.top or None,
        limits=limits,
    )


def _too_small(crops: "Sequence[Crop]") -> str:
    """Why one of the crops has less pixels than its output, if one has."""
    for crop in crops:
        width, height = crop.box_px[2] - crop.box_px[0], crop.box_px[3] - crop.box_px[1]
        if crop.size is not None and (width + 1 < crop.size[0] or height + 1 < crop.size[1]):
            size, photo = "x".join(map(str, crop.size)), "x".join(map(str, crop.original.size))
            return f"its crop of {width}x{height} ({photo} in all) is less than {size}: --upscale enlarges it"
    return ""


def _failure(file: Path, error: Exception) -> CroppedFile:
    message = str(error)
    return CroppedFile({"file": str(file), "width": 0, "height": 0, "crops": [], "files": [], "error": message}, [])


def _write(file: Path, crops: "Sequence[Crop]", task: CropTask) -> CroppedFile:
    """Write the crops and what belongs to them beside their places, record them, and move them there. Raises UsageError."""
    width, height = crops[0].original.size
    if task.lossless:
        crops = [crop.on_blocks() for crop in crops]
    entries = [_entry(crop, explained=task.explained, counted=task.top > 0) for crop in crops]
    entry: PhotoRecord = {"file": str(file), "width": width, "height": height, "files": [], "crops": entries}
    if task.out is None:
        return CroppedFile(entry, [])
    out = task.out / task.places.get(file, Path())
    writers = _writers(file, crops, out, task)
    task.names.claim(list(writers), task.ledger.own(file, any_options=task.again) if task.ledger else ())
    out.mkdir(parents=True, exist_ok=True)
    entry["files"] = [str(path) for path in list(writers)[: len(crops)]]
    written = [str(path) for path in writers]
    try:
        for path, write in writers.items():
            write(_aside(path))
        if task.ledger is not None:
            task.ledger.add(file, entry, written)
        for path in writers:
            _aside(path).replace(path)
    finally:
        for path in writers:
            _aside(path).unlink(missing_ok=True)
    return CroppedFile(entry, written)


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.stem}.partial{path.suffix}")


def _entry(crop: "Crop", *, explained: bool, counted: bool) -> CropRecord:
    entry: CropRecord = {
        "box_px": list(crop.box_px), "score": crop.score, "aspect": round(crop.aspect, 4),
        "aspect_name": crop.aspect_name,
        "whole_score": crop.whole_score, "subject_kept": crop.subject_kept, "fulfilled": crop.fulfilled,
        "faces": crop.faces, "heads_cut": crop.heads_cut, "faces_cut": crop.faces_cut, "unchanged": crop.unchanged,
        "references": crop.references,
    }  # fmt: skip
    if crop.fewer and counted:
        entry["fewer"] = crop.fewer
    if explained:
        entry["explanation"] = crop.explain().as_json()
    return entry


def _writers(file: Path, crops: "Sequence[Crop]", out: Path, task: CropTask) -> dict[Path, Callable[[Path], object]]:
    """What writes each output of a photograph, by its path: the crops, then XMP sidecar and drawn explanation of the best."""
    from procrop_model.inference.encoding_options import SUFFIXES

    stem, best = f"{file.stem}{task.marks.get(file, '')}", crops[0]
    names = crop_names(task.name, stem, crops, [task.suffix or SUFFIXES[crop.original.kind] for crop in crops])
    writers: dict[Path, Callable[[Path], object]] = {
        out / name: partial(crop.save, quality=task.quality, keep_gps=task.keep_gps, lossless=task.lossless)
        for name, crop in zip(names, crops, strict=True)
    }
    if task.xmp:
        text = xmp_of(to_norm(best.box_px, *best.original.size), best.original.orientation)
        writers[out / f"{stem}.xmp"] = lambda path: path.write_text(text, encoding="utf-8")
    if task.picture:
        writers[out / f"{stem}_why.png"] = lambda path: best.explain_picture(task.thumbnails).save(path)
    return writers
