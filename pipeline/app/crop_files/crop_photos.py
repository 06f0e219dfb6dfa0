"""Crop anybody's photographs with a trained cropper, and continue after an interruption."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.app.crop_files.batch import CropTask, crop_files
from pipeline.app.crop_files.entries import PhotoRecord
from pipeline.app.crop_files.inputs import (
    find_encoder,
    find_model,
    find_photos,
    read_regions,
    regions_by_file,
    thumbnails_of,
)
from pipeline.app.crop_files.names import TakenNames, output_marks, parse_name
from pipeline.app.crop_files.resume import CropLedger
from pipeline.core.errors import UsageError
from pipeline.core.processor import precision_for, slow_precision
from pipeline.core.resources import file_digest
from pipeline.core.seeds import digest_of

if TYPE_CHECKING:
    from pipeline.app.progress_bar import ProgressCallback
    from procrop_model.cropper import Cropper, Limits
    from procrop_model.inference.crop_options import FaceFinder

_log = logging.getLogger("procrop-data")
AUTO_SHARE = 0.9  # of the subject that a crop keeps at a fixed aspect ratio, where the plain cropper may cut through it


@dataclass(frozen=True)
class CropRequest:
    """Which photographs are cropped, how, and what is written.

    Args:
        photos: files, folders and globs.
        aspect: aspect ratios, for example ``4:5`` or ``square,free``; empty: free.
        size: exact output size, for example ``1080x1350``; it fixes the aspect ratio.
        upscale: enlarge crops that have less pixels than ``size``.
        top: crops per photograph at most; 0: 3, or 1 for each of several aspect ratios.
        out: folder for the crops.
        save: whether anything is written to ``out``.
        model: folder of a cropper; empty: the one of ``work``, else the bundled one.
        work: run directory.
        min_size: least size of a crop, as pixels of the original (``800x600``) or as share of its area (``0.3``).
        keep: regions that must stay inside, as ``x1,y1,x2,y2`` in upright pixels.
        keep_file: CSV of such regions by file; empty: none.
        keep_subject: least share of the subject to keep, in 0..1; ``off``; or ``auto``: 0.9 if the aspect ratio is fixed.
        faces: ``keep``: a crop contains the heads of prominent faces and cuts no other; or ``off``.
        margin: a photograph stays whole unless its best crop scores higher by this much; None: always crop.
        explain: draw the explanation of the best crop to ``NAME_why.png``.
        explain_entries: put explanations into the entries, too, even if none are drawn.
        reference_photos: folder with the references' pictures for the drawing; empty: the bundled photographs.
        xmp: write ``NAME.xmp`` with the best crop.
        format: of the crops: ``jpg``, ``png``, ``webp`` or ``tif``; empty: that of each photograph.
        quality: of JPEG and WebP, 1 to 100; 0: that of each photograph.
        keep_gps: keep the place in EXIF and XMP of the crops.
        lossless: copy the blocks of JPEG files: crops are enlarged to begin at one, by less than 16 pixels.
        name: template of the crops' names, of name, aspect, n, width and height; empty: ``{name}_crop{n}_{width}x{height}``.
        again: crop photographs again whose crops are in ``out`` already, and replace those crops.
        overwrite: replace any file that has the name of an output.
        batch: photographs in one pass of the network.
        encoder_checkpoint: checkpoint of the encoder, if the model's references need one.
        precision: ``fp32``, ``bf16`` for the backbone, or ``auto``: bf16 where the device has instructions for it.
        device: ``auto`` (the processor), ``cpu``, ``cuda`` or ``cuda:N``.
    """

    photos: Sequence[str]
    aspect: str = ""
    size: str = ""
    upscale: bool = False
    top: int = 0
    out: str = "crops"
    save: bool = True
    model: str = ""
    work: str = "work"
    min_size: str = ""
    keep: Sequence[str] = ()
    keep_file: str = ""
    keep_subject: str = "auto"
    faces: str = "keep"
    margin: float | None = None
    explain: bool = False
    explain_entries: bool = False
    reference_photos: str = ""
    xmp: bool = False
    format: str = ""
    quality: int = 0
    keep_gps: bool = False
    lossless: bool = False
    name: str = ""
    again: bool = False
    overwrite: bool = False
    batch: int = 8
    encoder_checkpoint: str = ""
    precision: str = "fp32"
    device: str = "auto"


@dataclass(frozen=True)
class CropReport:
    """entries: one per photograph, in the order of the request. fresh: those that no earlier command had cropped."""

    entries: list[PhotoRecord]
    fresh: list[PhotoRecord]


def crop_photos(request: CropRequest, progress: "ProgressCallback | None" = None) -> CropReport:
    """Crop the requested photographs; one that cannot be read gets an entry with ``error``.

    progress: called with the number of photographs done and in all. Raises UsageError for options that cannot be used,
    ModelError for a model that cannot be loaded.
    """
    from procrop_model import Cropper

    limits = crop_limits(request)
    places = find_photos(list(request.photos), Path(request.out) if request.save else None)
    folder = find_model(request.model, request.work)
    task = crop_task(request, limits, places)
    device = "cpu" if request.device == "auto" else request.device
    precision = precision_for(request.precision, device)
    ledger = CropLedger(Path(request.out), _options_digest(task, limits, folder, precision)) if request.save else None
    entries: dict[Path, PhotoRecord] = {}
    for file in places if ledger is not None and not request.again else ():
        if ledger is not None and (entry := ledger.find(file)) is not None:
            entries[file] = entry
    reused = set(entries)
    if progress is not None:
        progress(len(reused), len(places))
    made = [path for entry in entries.values() for path in entry["files"]]
    names = TakenNames(overwrite=request.overwrite, taken=made)
    task = replace(task, names=names, ledger=ledger, again=request.again)
    if todo := [file for file in places if file not in entries]:
        encoder = find_encoder(folder, request.encoder_checkpoint)
        if warning := slow_precision(request.precision, device):
            _log.warning(warning)
        cropper = Cropper.load(folder, device=device, encoder=encoder, precision=request.precision)
        for file, (entry, _) in zip(todo, crop_files(cropper, todo, task, request.batch), strict=True):
            entries[file] = entry
            if progress is not None:
                progress(len(entries), len(places))
    return CropReport([entries[file] for file in places], [entries[file] for file in places if file not in reused])


def crop_file(cropper: "Cropper", file: Path, *, top: int) -> PhotoRecord:
    """The entry of one file, of which nothing is written."""
    (cropped,) = crop_files(cropper, [file], CropTask(top=top))
    return cropped.entry


def crop_task(request: CropRequest, limits: "Limits", places: Mapping[Path, Path]) -> CropTask:
    """What the options of a request mean for each file. places: subfolder of the outputs by file. Raises UsageError."""
    return CropTask(
        request.aspect,
        request.size,
        request.top,
        request.upscale,
        limits,
        out=Path(request.out) if request.save else None,
        places=places,
        keep=regions_by_file(read_regions(request.keep_file), places),
        marks=output_marks(places),
        explained=request.explain or request.explain_entries,
        picture=request.explain and request.save,
        xmp=request.xmp and request.save,
        suffix=_suffix_of(request.format),
        quality=request.quality,
        keep_gps=request.keep_gps,
        lossless=_lossless(request),
        name=parse_name(request.name),
        thumbnails=thumbnails_of(request.reference_photos) if request.explain else None,
    )


def _lossless(request: CropRequest) -> bool:
    """Whether crops are copied without loss. Raises UsageError where other options encode them again, or the library is missing."""
    if not request.lossless:
        return False
    from procrop_model.inference.lossless_crop import require_lossless

    again = {
        "--size": request.size,
        "--quality": request.quality,
        "--format": _suffix_of(request.format).replace(".jpg", ""),
    }
    for option, value in again.items():
        if value:
            raise UsageError(
                f"--lossless copies the pixels of a JPEG, and {option} encodes them again: leave one of them out"
            )
    require_lossless()
    return True


def _suffix_of(name: str) -> str:
    """The suffix of a format; empty for none. Raises UsageError."""
    from procrop_model.inference.encoding_options import SUFFIXES

    wanted = {"JPG": "JPEG", "TIF": "TIFF"}.get(name.upper().lstrip("."), name.upper().lstrip("."))
    if wanted and wanted not in SUFFIXES:
        raise UsageError(f"--format '{name}': write jpg, png, webp or tif")
    return SUFFIXES.get(wanted, "")


def crop_limits(request: CropRequest) -> "Limits":
    """The limits that the request sets; the segmenter loads with the first photograph. Raises UsageError."""
    from procrop_model.inference.crop_options import (
        Limits,
        aspects_of,
        face_finder,
        parse_min_size,
        parse_region,
    )

    fixed = any(not aspect.is_free for aspect in aspects_of(request.aspect or None, request.size or None))
    parse_min_size(request.min_size)
    face_finder(request.faces)
    regions = [parse_region(text) for text in request.keep]
    least = request.min_size or ("" if request.upscale else request.size)
    limits = Limits(least or None, regions, faces=request.faces, margin=request.margin)
    if request.keep_subject == "off" or (request.keep_subject == "auto" and not fixed):
        return limits
    try:
        share = AUTO_SHARE if request.keep_subject == "auto" else float(request.keep_subject)
    except ValueError:
        share = -1.0
    if not 0 < share <= 1:
        raise UsageError(f"--keep-subject '{request.keep_subject}': write auto, off, or a share in 0..1")
    from stages.backends.vision.u2net import U2NetSegmenter

    segmenter = U2NetSegmenter()
    return replace(limits, subject=lambda image: segmenter.segment([image])[0], share=share)


def _options_digest(task: CropTask, limits: "Limits", folder: Path, precision: str) -> str:
    """Digest of everything that shapes the outputs: the model's files and the options."""
    config = folder / "config.json"
    return digest_of(
        [
            file_digest(str(config)) if config.is_file() else "", task.aspect, task.size, task.top, task.upscale,
            str(limits.min_size),
            [list(region) for region in limits.keep], limits.share if limits.subject is not None else 0, limits.margin,
            _digest_of_faces(limits.faces),
            {name: [list(box) for box in boxes] for name, boxes in task.keep.items()}, task.explained, task.picture, task.xmp,
            precision, task.suffix, task.quality, task.keep_gps, task.name, task.lossless,
        ]
    )[:16]  # fmt: skip


def _digest_of_faces(faces: "FaceFinder | str") -> str:
    from procrop_model.faces.detector import bundled_detector

    return bundled_detector().digest if faces == "keep" else "off"
