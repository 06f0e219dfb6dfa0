"""``crop``: the trained cropper on anybody's photographs."""

import glob
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.options import Device, Json, Quiet, Work, print_json
from pipeline.errors import ModelError, UsageError

if TYPE_CHECKING:
    from procrop_model import Crop, Cropper

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif", ".jp2")
Photos = Annotated[list[str], typer.Argument(help="Files, folders or globs.", metavar="FILE|DIR|GLOB...")]
Aspect = Annotated[str, typer.Option(help="Aspect ratio, for example 4:5; free when left out.")]
Size = Annotated[str, typer.Option(help="Exact output size, for example 1080x1350; fixes the aspect ratio.")]
Top = Annotated[int, typer.Option(help="Crops a photo, at most.", min=1, max=20)]
Out = Annotated[str, typer.Option(help="Folder for the crops; none are written with --no-save.")]
Model = Annotated[
    str, typer.Option(help="Folder of a trained cropper; default: the one of --work, else the bundled one.")
]
Save = Annotated[bool, typer.Option("--save/--no-save", help="Whether to write the crops.")]


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("crop")(crop)


def crop(
    photos: Photos, aspect: Aspect = "", size: Size = "", top: Top = 3, out: Out = "crops", model: Model = "",
    work: Work = "work", save: Save = True, device: Device = "auto", json: Json = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Crop photographs: writes the best crops from the full-resolution originals and prints a table."""
    from procrop_model import Cropper
    from procrop_model.infer import parse_aspect, parse_size

    parse_aspect(aspect or None)
    parse_size(size or None)
    files = find_photos(photos)
    cropper = Cropper.load(find_model(model, work), device="cpu" if device == "auto" else device)
    done, failed = [], 0
    for file in files:
        entry = crop_file(cropper, file, aspect=aspect, size=size, top=top, out=Path(out) if save else None)
        failed += "error" in entry
        done.append(entry)
        if "error" in entry and not quiet:
            print(f"{file}: {entry['error']}", file=sys.stderr)
    if json:
        print_json([{k: v for k, v in entry.items() if k != "files"} for entry in done])
    elif not quiet:
        _print_table(done)
    if failed:
        raise typer.Exit(3)


def find_photos(patterns: list[str]) -> list[Path]:
    """The files that arguments name, each once; raises UsageError for an argument that names none."""
    found: dict[Path, None] = {}
    for pattern in patterns:
        path = Path(pattern)
        if path.is_dir():
            hits = sorted(p for p in path.rglob("*") if p.is_file() and p.suffix.lower() in PHOTO_SUFFIXES)
        elif path.exists():
            hits = [path]
        else:
            hits = sorted(Path(p) for p in glob.glob(pattern, recursive=True) if Path(p).is_file())
        if not hits:
            raise UsageError(f"no photographs at '{pattern}'")
        found.update(dict.fromkeys(hits))
    return list(found)


def find_model(model: str, work: str) -> Path:
    """The folder of a cropper: the one named, the run directory's, or the bundled one; raises ModelError."""
    from pipeline.resources import bundled

    if model:
        return Path(model)
    candidates = [Path(work) / "models" / "cropper" / "cropper", bundled("assets") / "models" / "cropper"]
    for folder in candidates:
        if (folder / "config.json").is_file():
            return folder
    raise ModelError(f"no trained cropper in '{candidates[0]}': run 'make train-weak', or name one with --model")


def crop_file(cropper: "Cropper", file: Path, *, aspect: str, size: str, top: int, out: Path | None) -> dict[str, Any]:
    """What ``crop --json`` says of one file; ``error`` when it cannot be read. Crops are written under ``out``."""
    from PIL import Image

    try:
        crops = cropper(file, aspect=aspect or None, size=size or None, top=top)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return {"file": str(file), "width": 0, "height": 0, "crops": [], "error": str(error).split(" at 0x")[0]}
    width, height = crops[0].original.size
    entry: dict[str, Any] = {"file": str(file), "width": width, "height": height, "files": []}
    entry["crops"] = [{"box_px": list(c.box_px), "score": c.score, "references": c.references} for c in crops]
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        entry["files"] = [_save(c, out, file, number) for number, c in enumerate(crops, 1)]
    return entry


def _save(crop: "Crop", out: Path, file: Path, number: int) -> str:
    """Writes one crop under a name that says whose it is; the suffix tells apart ``a.png`` and ``a.jpg``."""
    width, height = crop.size or (crop.box_px[2] - crop.box_px[0], crop.box_px[3] - crop.box_px[1])
    kind = file.suffix.lower().lstrip(".")
    mark = "" if kind in ("jpg", "jpeg") else f"_{kind}"
    target = out / f"{file.stem}{mark}_crop{number}_{width}x{height}.jpg"
    crop.save(target)
    return str(target)


def _print_table(entries: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for name, side in (("photo", "left"), ("crop", "right"), ("score", "right"), ("box x1 y1 x2 y2", "left")):
        table.add_column(name, justify="right" if side == "right" else "left", overflow="fold")
    table.add_column("guided by", overflow="fold")
    table.add_column("written to", overflow="fold")
    for entry in entries:
        for number, found in enumerate(entry["crops"]):
            references = ", ".join(r["title"] or "untitled" for r in found["references"][:2])
            name = f"{Path(entry['file']).name} ({entry['width']}x{entry['height']})" if number == 0 else ""
            box = " ".join(str(v) for v in found["box_px"])
            files = entry["files"]
            target = files[number] if files else ""
            table.add_row(
                name, str(number + 1), f"{found['score']:.2f}", box, references if number == 0 else "", target
            )
    Console().print(table)
