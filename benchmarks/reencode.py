"""What a cropper loses when every canvas gets one common strong re-encode, which wipes out fine traces of the paint.

    procrop-data bench reencode --work DIR [--model DIR] [--treat 'jpeg_quality=30']

A cropper that leans on such traces to find the photo's rectangle loses IoU; one that reads the composition does not. The
canvases are those of a run's ``outpaint`` stage, the photographs those of its test split, the protocol that of ``eval``.
"""

import argparse
import io
import json
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.harness import finish, result
from pipeline.app.audit_canvases import parse_treatment
from pipeline.app.session import open_existing
from pipeline.core.resources import bundled
from pipeline.core.seeds import seed_for
from procrop_model import Cropper
from procrop_model.evaluation.evaluate_run import MODEL, evaluate
from procrop_model.evaluation.metrics import bootstrap
from stages.canvases.seam_treatment import SeamSettings, treat
from stages.photos.decode import encode_jpeg, to_array


def write_split(rows: Sequence[dict[str, Any]], split: str, folder: Path, settings: SeamSettings | None) -> None:
    """One shard of the canvases of a split; each row has ``jpg`` beside the columns of its table."""
    with tarfile.open(folder / f"canvases-{split}-000000.tar", "w") as tar:
        for row in rows:
            data = row["jpg"]
            if settings is not None:
                data = reencoded(row, settings)
            names = ("key", "photo", "width", "height", "photo_box")
            about = {**{name: row[name] for name in names}, "crops": [row["photo_box"]], "scores": [10.0]}
            for suffix, member in (("jpg", data), ("json", json.dumps(about).encode())):
                info = tarfile.TarInfo(f"{row['key']}.{suffix}")
                info.size = len(member)
                tar.addfile(info, io.BytesIO(member))


def reencoded(row: dict[str, Any], settings: SeamSettings) -> bytes:
    """A canvas's JPEG after a treatment."""
    pixels, (x1, y1, x2, y2) = to_array(row["jpg"]), row["photo_box"]
    size, seed = (row["width"], row["height"]), seed_for(0, "reencode", row["key"])
    out = treat(pixels, pixels[y1:y2, x1:x2], (x1, y1, x2, y2), settings, size=size, seed=seed)
    return encode_jpeg(Image.fromarray(out), settings.jpeg_quality)


def canvases(work: str) -> dict[str, list[dict[str, Any]]]:
    """Kept canvases of a run by split, with their bytes."""
    tables = open_existing(work).run.tables()
    found: dict[str, list[dict[str, Any]]] = {"train": [], "test": []}
    for shard in tables.shards("outpaint"):
        path = tables.path("outpaint", shard)
        for row in tables.columns("outpaint", shard, None).to_pylist():
            if row["split"] in found:
                data = tables.read_range(path, row["image_offset"], row["image_size"])
                found[row["split"]].append({**row, "jpg": data})
    return found


def main(arguments: Sequence[str]) -> None:
    """Print both evaluations, the loss with its interval by photo, and the RESULT line (IoU re-encoded over IoU stored)."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", default="work", help="a run with its canvases made")
    parser.add_argument("--model", default="", help="folder of a cropper; default: the bundled one")
    parser.add_argument("--treat", default="jpeg_quality=30", help="the treatment, as in audit seam")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    settings = parse_treatment(options.treat)
    cropper = Cropper.load(
        Path(options.model) if options.model else bundled("assets") / "models" / "cropper", precision="fp32"
    )
    splits, evaluations = canvases(options.work), {}
    for name, change in (("stored", None), ("ours", settings)):
        with tempfile.TemporaryDirectory() as folder:
            for split, rows in splits.items():
                write_split(rows, split, Path(folder), change if split == "test" else None)
            evaluations[name] = evaluate(cropper, folder)
        print(f"{name}: {json.dumps(evaluations[name]['rows'][MODEL])}", file=sys.stderr)
    ious = {name: np.array([row[MODEL]["iou"] for row in one["images"]]) for name, one in evaluations.items()}
    photos = [row["photo"] for row in evaluations["ours"]["images"]]
    lost = [round(x, 4) for x in bootstrap((ious["stored"] - ious["ours"]).tolist(), photos)]
    print(f"IoU lost by '{options.treat}': {lost[0]:.4f} [{lost[1]:.4f}, {lost[2]:.4f}]", file=sys.stderr)
    figures = {"ours": [float(ious["ours"].mean())], "stored": [float(ious["stored"].mean())]}
    env = {"torch": torch.__version__, "threads": 1}
    details = {"lost": lost, "treat": options.treat, "canvases": len(photos), "photos": len(set(photos))}
    finish(result("reencode", "IoU", figures, higher_is_better=True, env=env, **details))


if __name__ == "__main__":
    main(sys.argv[1:])
