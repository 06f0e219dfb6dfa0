"""Bench ``cropper-infer``: 1080p JPEG files to crops with live retrieval, end to end, in torch and as exported ONNX graphs.

The files are mosaics of four bundled photographs, each reduced to 960 x 540, so that they have a camera's detail; decoding is
part of what is timed. Both give the same crops: boxes to a pixel, scores to 1e-3.
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from PIL import Image

from benchmarks.harness import OURS, alternate, finish, result, versions
from pipeline.app.crop_files.batch import CropTask, crop_files
from pipeline.core.resources import bundled
from procrop_model import Cropper
from procrop_model.inference.onnx_export import export_cropper
from procrop_model.model_folder.save_load import load_model


def main(arguments: Sequence[str]) -> None:
    """Measure and print the RESULT line."""
    parser = argparse.ArgumentParser(prog="procrop-data bench cropper-infer", description=__doc__)
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--model", default="", help="folder of a cropper; default: the bundled one")
    parser.add_argument(
        "--exported", default="", help="its folder of graphs; default: made first, which takes a minute"
    )
    options = parser.parse_args(list(arguments))
    torch.set_num_threads(options.threads)
    folder = Path(options.model) if options.model else bundled("assets") / "models" / "cropper"
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        files = mosaics(work / "photos", options.images)
        exported = Path(options.exported) if options.exported else work / "onnx"
        if not options.exported:
            export_cropper(load_model(folder), exported)
        croppers = {"onnx": Cropper.load(exported), "torch": Cropper.load(folder, precision="fp32")}
        check_equal(croppers, files[:8])
        runs = {name: partial(rate, cropper, files, options.batch) for name, cropper in croppers.items()}
        written = partial(rate, croppers["onnx"], files, options.batch, work / "crops")
        contenders = {OURS: runs["onnx"], "torch": runs["torch"], "onnx, crops written in full resolution": written}
        figures = alternate(contenders, options.rounds)
        finish(
            result(
                "cropper-infer", "images/s", figures, higher_is_better=True,
                cpu_s_an_image={name: cpu_seconds(c, files, options.batch) for name, c in croppers.items()},
                env={"images": options.images, "batch": options.batch, "threads": options.threads,
                     **versions("torch", "onnxruntime", "Pillow")},
            )
        )  # fmt: skip


def mosaics(folder: Path, count: int) -> list[Path]:
    """JPEG files of 1920 x 1080, quality 90."""
    folder.mkdir(parents=True)
    photos = sorted((bundled("assets") / "photos").glob("*.jpg"))
    made = []
    for number in range(count):
        sheet = Image.new("RGB", (1920, 1080))
        for part in range(4):
            with Image.open(photos[(number * 3 + part * 7) % len(photos)]) as opened:
                sheet.paste(opened.convert("RGB").resize((960, 540)), (960 * (part % 2), 540 * (part // 2)))
        made.append(folder / f"{number:04d}.jpg")
        sheet.save(made[-1], quality=90)
    return made


def rate(cropper: Cropper, files: Sequence[Path], batch: int, out: Path | None = None) -> float:
    """Images a second, three crops each."""
    started = time.perf_counter()
    entries = [cropped.entry for cropped in crop_files(cropper, files, CropTask(out=out), batch)]
    seconds = time.perf_counter() - started
    if any("error" in entry for entry in entries):
        raise SystemExit("a file was not cropped")
    if out is not None:
        shutil.rmtree(out)
    return len(files) / seconds


def cpu_seconds(cropper: Cropper, files: Sequence[Path], batch: int) -> float:
    """Processor seconds an image, which other work on the machine changes less than the clock's."""
    started = time.process_time()
    list(crop_files(cropper, files, CropTask(), batch))
    return round((time.process_time() - started) / len(files), 4)


def check_equal(croppers: dict[str, Cropper], files: Sequence[Path]) -> None:
    """Raises SystemExit when the two do not give the same crops."""
    entries = [[cropped.entry for cropped in crop_files(c, files, CropTask(), 8)] for c in croppers.values()]
    for one, other in zip(*entries, strict=True):
        for a, b in zip(one["crops"], other["crops"], strict=True):
            apart = max(abs(x - y) for x, y in zip(a["box_px"], b["box_px"], strict=True))
            if apart > 1 or abs(a["score"] - b["score"]) > 1e-3:
                raise SystemExit(f"{one['file']}: {a['box_px']} ({a['score']}) and {b['box_px']} ({b['score']})")
