"""``crop``: the trained cropper on anybody's photographs."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from pipeline.app.crop_files.crop_photos import CropRequest
from pipeline.cli.options import Device, Json, OutputOptions, Quiet, Work, Workers, print_json
from pipeline.cli.run import Address
from pipeline.core.escaping import printable

Photos = Annotated[
    list[str],
    typer.Argument(help="Files, folders or globs; or one URL of a remote folder.", metavar="FILE|DIR|GLOB..."),
]
Aspect = Annotated[
    str,
    typer.Option(
        help="Aspect ratio, for example 4:5 or 16x9, or square, portrait (2:3), landscape (3:2), original; several, "
        "1:1,4:5,free, give the best of each; default: free."
    ),
]
Size = Annotated[str, typer.Option(help="Exact output size, for example 1080x1350; fixes the aspect ratio.")]
Upscale = Annotated[bool, typer.Option("--upscale", help="Enlarge crops that have less pixels than --size.")]
Top = Annotated[int, typer.Option(help="Crops a photo, at most; 0: 3, or 1 of each of several aspects.", min=0, max=20)]
Out = Annotated[str, typer.Option(help="Folder for the crops, or its URL; none are written with --no-save.")]
Model = Annotated[
    str, typer.Option(help="Folder of a trained or exported cropper; default: the one of --work, else the bundled one.")
]
Save = Annotated[bool, typer.Option("--save/--no-save", help="Write the crops.")]
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
Faces = Annotated[
    str,
    typer.Option(
        help="keep: crops contain the heads of prominent faces and cut no other; off: faces are not looked for."
    ),
]
Margin = Annotated[
    float | None,
    typer.Option(
        "--no-crop-if-better-below", help="Leave a photo whole unless its best crop scores higher by this much."
    ),
]
Explain = Annotated[bool, typer.Option("--explain", help="Say why the best crop was chosen, and draw NAME_why.png.")]
ReferencePhotos = Annotated[str, typer.Option(help="Folder with the references' pictures for --explain.")]
Csv = Annotated[str, typer.Option("--csv", help="Write a table of all crops to this file.")]
Xmp = Annotated[bool, typer.Option("--xmp", help="Write NAME.xmp with the best crop in Camera Raw's fields, too.")]
Format = Annotated[str, typer.Option(help="Format of the crops: jpg, png, webp or tif; default: that of each photo.")]
Quality = Annotated[
    int, typer.Option(help="Quality of JPEG and WebP, 1 to 100; 0: that of each photo.", min=0, max=100)
]
KeepGps = Annotated[bool, typer.Option("--keep-gps", help="Keep the place of the photo in the crops' EXIF and XMP.")]
Lossless = Annotated[
    bool,
    typer.Option(
        "--lossless",
        help="Copy the blocks of JPEG files without loss; a crop then begins at a block, so it is up to 15 px larger.",
    ),
]
Executor = Annotated[
    str,
    typer.Option(
        help="For very many photos, and for remote folders: local, ray, or array, as for 'run'. Default: local where one is needed."
    ),
]
RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", help="With --executor or a remote folder: try photos that failed again.")
]
Name = Annotated[
    str,
    typer.Option(
        help="Names of the crops, of {name}, {aspect}, {n}, {width}, {height}; default: {name}_crop{n}_{width}x{height}."
    ),
]
Again = Annotated[
    bool, typer.Option("--again", help="Crop photos again whose crops are in --out already, and replace these crops.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace any file that has the name of a crop.")]
Batch = Annotated[int, typer.Option(help="Photos in one pass of the network.", min=1, max=256)]
Checkpoint = Annotated[str, typer.Option(help="Checkpoint of the encoder, where the model's references need one.")]
Precision = Annotated[
    str, typer.Option(help="Of the backbone: fp32, bf16, or auto, bf16 where the device has instructions for it.")
]


@dataclass(frozen=True)
class CropExecution:
    """Which processes crop; fields as in ``FolderRequest``."""

    executor: str = ""
    address: str = ""
    workers: int = 0
    retry_failed: bool = False


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("crop")(crop_command)


def crop_command(
    photos: Photos, aspect: Aspect = "", size: Size = "", upscale: Upscale = False,
    top: Top = 0, out: Out = "crops", model: Model = "",
    min_size: MinSize = "", keep: Keep = None, keep_file: KeepFile = "", keep_subject: KeepSubject = "auto", faces: Faces = "keep",
    margin: Margin = None, explain: Explain = False, reference_photos: ReferencePhotos = "", csv: Csv = "",
    xmp: Xmp = False, format: Format = "", quality: Quality = 0, keep_gps: KeepGps = False, lossless: Lossless = False,
    name: Name = "", again: Again = False, overwrite: Overwrite = False,
    batch: Batch = 8, encoder_checkpoint: Checkpoint = "", precision: Precision = "fp32",
    executor: Executor = "", address: Address = "", workers: Workers = 0, retry_failed: RetryFailed = False,
    work: Work = "work", save: Save = True, device: Device = "auto", json: Json = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Crop photographs: writes the best crops from the full-resolution originals and prints a table."""
    request = CropRequest(
        photos=photos, aspect=aspect, size=size, upscale=upscale,
        top=top, out=out, save=save, model=model, work=work, min_size=min_size,
        keep=keep or (), keep_file=keep_file, keep_subject=keep_subject, faces=faces, margin=margin, explain=explain,
        explain_entries=json, reference_photos=reference_photos, xmp=xmp, format=format, quality=quality,
        keep_gps=keep_gps, lossless=lossless, name=name, again=again, overwrite=overwrite, batch=batch,
        encoder_checkpoint=encoder_checkpoint, precision=precision, device=device,
    )  # fmt: skip
    place = CropExecution(executor=executor, address=address, workers=workers, retry_failed=retry_failed)
    _crop(request, OutputOptions(json=json, quiet=quiet), csv, place)


def _crop(request: CropRequest, output: OutputOptions, csv: str, place: CropExecution = CropExecution()) -> None:
    from pipeline.app.crop_folders.crop_folder import is_for_folders

    if is_for_folders(request, place.executor):
        _crop_folder(request, output, csv, place)
    else:
        _crop_here(request, output, csv)


def _crop_folder(request: CropRequest, output: OutputOptions, csv: str, place: CropExecution) -> None:
    from pipeline.app.crop_files.outputs import write_csv
    from pipeline.app.crop_folders.crop_folder import FolderRequest, crop_folder
    from pipeline.app.progress import Display

    display = Display(quiet=output.silent)
    asked = FolderRequest(request, place.executor or "local", place.address, place.workers, place.retry_failed)
    report = crop_folder(asked, display)
    if csv:
        write_csv(list(report.entries), Path(csv))
    elif output.json:
        print_json(list(report.entries))
    if report.waits_for:
        display.message(f"this task's share is done; submit the array again later: {report.waits_for}")
    if not output.json:
        nothing = "" if report.fresh else "nothing to do: "
        print(
            printable(
                f"{nothing}{report.photos - report.failed:,} of {report.photos:,} photos are cropped in {request.out}"
            )
        )
    if report.failed:
        raise typer.Exit(3)


def _crop_here(request: CropRequest, output: OutputOptions, csv: str) -> None:
    from pipeline.app.crop_files.crop_photos import crop_photos
    from pipeline.app.crop_files.outputs import print_explanations, print_table, write_csv
    from pipeline.app.progress_bar import progress_bar

    with progress_bar("crop", output.silent) as progress:
        report = crop_photos(request, progress)
    if csv:
        write_csv(report.entries, Path(csv))
    failed = [entry for entry in report.entries if "error" in entry]
    for entry in failed:
        print(printable(f"{entry['file']}: {entry['error']}"), file=sys.stderr)
    if output.json:
        print_json([{name: value for name, value in entry.items() if name != "files"} for entry in report.entries])
    elif not report.fresh:
        print(
            printable(
                f"nothing to do: all {len(report.entries)} were cropped before into {request.out}; --again crops them again"
            )
        )
    else:
        print_table(report.fresh)
        if request.explain:
            print_explanations(report.fresh)
        if reused := len(report.entries) - len(report.fresh):
            print(f"{reused} of {len(report.entries)} were cropped before; --again crops them again")
    if failed:
        raise typer.Exit(3)
