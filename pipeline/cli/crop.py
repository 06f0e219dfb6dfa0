"""``crop``: the trained cropper on anybody's photographs."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from pipeline.app.crop_files.crop_photos import CropRequest
from pipeline.cli.options import Device, Json, OutputOptions, Quiet, Work, print_json
from pipeline.core.escaping import printable

Photos = Annotated[list[str], typer.Argument(help="Files, folders or globs.", metavar="FILE|DIR|GLOB...")]
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
Out = Annotated[str, typer.Option(help="Folder for the crops; none are written with --no-save.")]
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
Explain = Annotated[
    bool, typer.Option("--explain", help="Draw NAME_why.png: which reference guided which part of the photo.")
]
ReferencePhotos = Annotated[str, typer.Option(help="Folder with the references' pictures for --explain.")]
Csv = Annotated[str, typer.Option("--csv", help="Write a table of all crops to this file.")]
Xmp = Annotated[bool, typer.Option("--xmp", help="Write NAME.xmp with the best crop in Camera Raw's fields, too.")]
Format = Annotated[str, typer.Option(help="Format of the crops: jpg, png, webp or tif; default: that of each photo.")]
Quality = Annotated[
    int, typer.Option(help="Quality of JPEG and WebP, 1 to 100; 0: that of each photo.", min=0, max=100)
]
KeepGps = Annotated[bool, typer.Option("--keep-gps", help="Keep the place of the photo in the crops' EXIF and XMP.")]
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


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("crop")(crop_command)


def crop_command(
    photos: Photos, aspect: Aspect = "", size: Size = "", upscale: Upscale = False,
    top: Top = 0, out: Out = "crops", model: Model = "",
    min_size: MinSize = "", keep: Keep = None, keep_file: KeepFile = "", keep_subject: KeepSubject = "auto", faces: Faces = "keep",
    margin: Margin = None, explain: Explain = False, reference_photos: ReferencePhotos = "", csv: Csv = "",
    xmp: Xmp = False, format: Format = "", quality: Quality = 0, keep_gps: KeepGps = False,
    name: Name = "", again: Again = False, overwrite: Overwrite = False,
    batch: Batch = 8, encoder_checkpoint: Checkpoint = "", precision: Precision = "fp32",
    work: Work = "work", save: Save = True, device: Device = "auto", json: Json = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Crop photographs: writes the best crops from the full-resolution originals and prints a table."""
    request = CropRequest(
        photos=photos, aspect=aspect, size=size, upscale=upscale,
        top=top, out=out, save=save, model=model, work=work, min_size=min_size,
        keep=keep or (), keep_file=keep_file, keep_subject=keep_subject, faces=faces, margin=margin, explain=explain,
        explain_entries=json, reference_photos=reference_photos, xmp=xmp, format=format, quality=quality,
        keep_gps=keep_gps, name=name, again=again, overwrite=overwrite, batch=batch,
        encoder_checkpoint=encoder_checkpoint, precision=precision, device=device,
    )  # fmt: skip
    _crop(request, OutputOptions(json=json, quiet=quiet), csv)


def _crop(request: CropRequest, output: OutputOptions, csv: str) -> None:
    from pipeline.app.crop_files.crop_photos import crop_photos
    from pipeline.app.crop_files.outputs import print_table, write_csv
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
        if reused := len(report.entries) - len(report.fresh):
            print(f"{reused} of {len(report.entries)} were cropped before; --again crops them again")
    if failed:
        raise typer.Exit(3)
