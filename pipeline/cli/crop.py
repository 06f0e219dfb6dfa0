"""``crop``: the trained cropper on anybody's photographs."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.app.crop_files.batch import CropTask, crop_files
from pipeline.app.crop_files.inputs import find_encoder, find_model, find_photos, read_regions, thumbnails_of
from pipeline.app.crop_files.outputs import print_table, write_csv
from pipeline.app.crop_files.resume import CropLedger
from pipeline.cli.options import Device, Json, Quiet, Work, print_json
from pipeline.core.errors import UsageError
from pipeline.core.seeds import digest_of

if TYPE_CHECKING:
    from procrop_model import Cropper
    from procrop_model.cropper import Limits

Photos = Annotated[list[str], typer.Argument(help="Files, folders or globs.", metavar="FILE|DIR|GLOB...")]
Aspect = Annotated[
    str,
    typer.Option(help="Aspect ratio, for example 4:5; several, 1:1,4:5,free, give the best of each; default: free."),
]
Size = Annotated[str, typer.Option(help="Exact output size, for example 1080x1350; fixes the aspect ratio.")]
Top = Annotated[int, typer.Option(help="Crops a photo, at most; 0: 3, or 1 of each of several aspects.", min=0, max=20)]
Out = Annotated[str, typer.Option(help="Folder for the crops; none are written with --no-save.")]
Model = Annotated[
    str, typer.Option(help="Folder of a trained or exported cropper; default: the one of --work, else the bundled one.")
]
Save = Annotated[bool, typer.Option("--save/--no-save", help="Whether to write the crops.")]
MinSize = Annotated[
    str, typer.Option(help="Least size of a crop: pixels of the original, 800x600, or share of its area, 0.3.")
]
Keep = Annotated[
    list[str] | None, typer.Option(help="Region that must stay inside, x1,y1,x2,y2 in upright pixels; repeatable.")
]
KeepFile = Annotated[str, typer.Option(help="CSV of such regions, for example faces: file,x1,y1,x2,y2.")]
KeepSubject = Annotated[
    str,
    typer.Option(
        help="Least share of the subject that a crop keeps, in 0..1; off; or auto: 0.9 where an aspect is fixed."
    ),
]
Margin = Annotated[
    float | None,
    typer.Option(
        "--no-crop-if-better-below", help="Leave a photo whole unless its best crop scores higher by this much."
    ),
]
Explain = Annotated[bool, typer.Option("--explain", help="Draw why, NAME_why.png: who guided which part of the photo.")]
ReferencePhotos = Annotated[str, typer.Option(help="Folder with the references' pictures for --explain.")]
Csv = Annotated[str, typer.Option("--csv", help="Write a table of all crops to this file.")]
Xmp = Annotated[bool, typer.Option("--xmp", help="Write NAME.xmp with the best crop in Camera Raw's fields, too.")]
Again = Annotated[bool, typer.Option("--again", help="Crop photos anew whose crops are in --out already.")]
Batch = Annotated[int, typer.Option(help="Photos in one pass of the network.", min=1, max=256)]
Checkpoint = Annotated[str, typer.Option(help="Checkpoint of the encoder, where the model's references need one.")]
Precision = Annotated[str, typer.Option(help="fp32, or bf16 for the backbone: quicker on processors that know it.")]
AUTO_SHARE = 0.9


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("crop")(crop)


def crop(
    photos: Photos, aspect: Aspect = "", size: Size = "", top: Top = 0, out: Out = "crops", model: Model = "",
    min_size: MinSize = "", keep: Keep = None, keep_file: KeepFile = "", keep_subject: KeepSubject = "auto",
    margin: Margin = None, explain: Explain = False, reference_photos: ReferencePhotos = "", csv: Csv = "",
    xmp: Xmp = False, again: Again = False, batch: Batch = 8, encoder_checkpoint: Checkpoint = "", precision: Precision = "fp32",
    work: Work = "work", save: Save = True, device: Device = "auto", json: Json = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Crop photographs: writes the best crops from the full-resolution originals and prints a table."""
    from procrop_model import Cropper
    from procrop_model.inference.crop_options import parse_aspects, parse_min_size, parse_region, parse_size

    fixed = parse_size(size or None) is not None or None not in parse_aspects(aspect or None)
    parse_min_size(min_size)
    regions = [parse_region(text) for text in keep or []]
    limits = _limits(keep_subject, fixed, min_size=min_size, keep=regions, margin=margin)
    places = find_photos(photos)
    folder = find_model(model, work)
    task = CropTask(
        aspect, size, top, limits, out=Path(out) if save else None, places=places, keep=read_regions(keep_file),
        explained=json or explain, picture=explain and save, xmp=xmp and save,
        thumbnails=thumbnails_of(reference_photos) if explain else None,
    )  # fmt: skip
    ledger = CropLedger(Path(out), _asked(task, folder, precision)) if save else None
    told = {file: entry for file in places if (entry := _kept(ledger, file, again)) is not None}
    todo = [file for file in places if file not in told]
    if todo:
        encoder = find_encoder(folder, encoder_checkpoint)
        where = "cpu" if device == "auto" else device
        cropper = Cropper.load(folder, device=where, encoder=encoder, precision=precision)
        for file, entry in zip(todo, crop_files(cropper, todo, task, batch), strict=True):
            made = entry.pop("made")
            told[file] = entry
            if ledger is not None and "error" not in entry:
                ledger.add(file, entry, made)
    done = [told[file] for file in places]
    _tell(done, len(places) - len(todo), csv=csv, as_json=json, quiet=quiet)
    if any("error" in entry for entry in done):
        raise typer.Exit(3)


def crop_file(cropper: "Cropper", file: Path, *, aspect: str, size: str, top: int, out: Path | None) -> dict[str, Any]:
    """What ``crop --json`` says of one file; ``error`` when it cannot be read. Crops are written under ``out``."""
    (entry,) = crop_files(cropper, [file], CropTask(aspect, size, top, out=out))
    names = ("file", "width", "height", "files", "crops", "error")
    return {name: value for name, value in entry.items() if name in names}


def _limits(
    keep_subject: str,
    fixed: bool,
    *,
    min_size: str,
    keep: Sequence[tuple[float, float, float, float]],
    margin: float | None,
) -> "Limits":
    """The limits that options ask for; the segmenter loads with the first photo. Raises UsageError."""
    from procrop_model.inference.crop_options import Limits

    limits = Limits(min_size or None, keep, margin=margin)
    if keep_subject == "off" or (keep_subject == "auto" and not fixed):
        return limits
    try:
        share = AUTO_SHARE if keep_subject == "auto" else float(keep_subject)
    except ValueError:
        share = -1.0
    if not 0 < share <= 1:
        raise UsageError(f"--keep-subject '{keep_subject}': write auto, off, or a share in 0..1")
    from stages.backends.vision.u2net import U2NetSegmenter

    segmenter = U2NetSegmenter()
    return replace(limits, subject=lambda image: segmenter.segment([image])[0], share=share)


def _asked(task: CropTask, folder: Path, precision: str) -> str:
    """Digest of all that shapes the outputs: the model's files and the options."""
    from pipeline.core.resources import file_digest

    limits = task.limits
    assert limits is not None
    config = folder / "config.json"
    return digest_of(
        [
            file_digest(str(config)) if config.is_file() else "", task.aspect, task.size, task.top, str(limits.min_size),
            [list(region) for region in limits.keep], limits.share if limits.subject is not None else 0, limits.margin,
            {name: [list(box) for box in boxes] for name, boxes in task.keep.items()}, task.explained, task.picture, task.xmp,
            precision,
        ]
    )[:16]  # fmt: skip


def _kept(ledger: CropLedger | None, file: Path, again: bool) -> dict[str, Any] | None:
    return None if ledger is None or again else ledger.find(file)


def _tell(done: list[dict[str, Any]], kept: int, *, csv: str, as_json: bool, quiet: bool) -> None:
    if csv:
        write_csv(done, Path(csv))
    for entry in done:
        if "error" in entry and not quiet:
            print(f"{entry['file']}: {entry['error']}", file=sys.stderr)
    if as_json:
        print_json([{k: v for k, v in entry.items() if k != "files"} for entry in done])
    elif not quiet:
        print_table(done)
        if kept:
            print(f"{kept} of {len(done)} were cropped before; --again crops them anew")
