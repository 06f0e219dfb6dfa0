"""Train the small out-painter on a folder of photographs, and write it in diffusers' layout with its card.

The whole of ``procrop-data train-outpainter``: the same photographs, settings and machine give the same digest.
"""

import csv
import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
import torch
from PIL import Image as Pillow

from pipeline.core.errors import RefusedError, UsageError
from pipeline.core.json_types import Json
from pipeline.core.replace_file import replacing
from pipeline.core.seeds import digest_of, seed_for
from stages.backends.base.devices import pick_device
from stages.backends.base.protocols import Image, PaintRequest
from stages.backends.outpainters.small_diffusion.backend import SmallDiffusionSettings, outpainter_digest
from stages.backends.outpainters.small_diffusion.network import GROUPS, LARGEST, MULTIPLE
from stages.backends.outpainters.small_diffusion.pipeline import SmallInpaintPipeline
from stages.canvases.placement import place
from stages.training.outpainter.card import CELL, write_outpainter_card
from stages.training.outpainter.crops import ENLARGED, PLACEMENT, CanvasBatches
from stages.training.outpainter.fitting import CHECKPOINT, Fitting, OutpainterTraining, Progress, other_run
from stages.training.scorer.photo_folder import TRAIN, Photograph, read_photographs

REPORT = "report.json"
OPTIONS = ("steps", "size", "width", "batch", "seed")  # of the command that the card repeats
SHOWN = 8  # held-out photographs in the card


class OutpainterReport(TypedDict):
    """The content of ``report.json``.

    Attributes:
        identity: of settings and photographs.
        digest: of the weights.
        settings: of the training.
        options: names of the settings that the command line has.
        photos: names by group, ``train`` and ``held_out``.
        licences: by name of the photograph, from ``credits.csv``.
        parameters, bytes: of the network and of its file.
        history: rows of step, training loss and held-out loss.
        held_out_loss: of the last row.
        seconds: of the training loop.
        device, threads: that it ran on.
        already_done: present when an earlier training of the same identity was found.
    """

    identity: str
    digest: str
    settings: dict[str, Json]
    options: Sequence[str]
    photos: dict[str, list[str]]
    licences: dict[str, str]
    parameters: int
    bytes: int
    history: list[list[float]]
    held_out_loss: float
    seconds: float
    device: str
    threads: int
    already_done: NotRequired[bool]


def train_small_outpainter(
    photos: Path,
    out: Path,
    settings: OutpainterTraining,
    *,
    device: str = "auto",
    resume: bool = True,
    progress: Progress = lambda done, total, losses: None,
) -> OutpainterReport:
    """Train on ``photos``, write weights, scheduler, card and ``report.json`` (last) to ``out``; returns the report.

    A finished training of the same settings is left as it is. Raises UsageError for settings out of range and for fewer than
    two photographs to train on or none held out, RefusedError when ``out`` holds another training, ModelError for a damaged
    checkpoint or a device that does not exist, InterruptedRunError after a signal.

    Args:
        photos: a folder of photographs, split as by ``read_photographs``; those of ``val`` are held out, or of ``test``
            where there is no val.
        out: folder of the model.
        settings: of the training.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        resume: whether to go on from a checkpoint in ``out``, or to start anew.
        progress: called after each step with steps done, all steps and the losses.
    """
    _check(settings)
    where = pick_device(device)
    groups = _groups(read_photographs(photos, long_side=2 * ENLARGED * settings.size, seed=settings.seed), photos)
    identity = settings.identity(_digest_of_all(groups))
    if not resume:
        for name in (CHECKPOINT, REPORT):
            (out / name).unlink(missing_ok=True)
    if (earlier := _finished(out, identity)) is not None:
        return earlier
    crops = {
        name: CanvasBatches(group, size=settings.size, batch=settings.batch, seed=settings.seed, purpose=name)
        for name, group in groups.items()
    }
    if where.startswith("cuda"):
        torch.cuda.set_device(where)
        torch.backends.cudnn.deterministic = True
    fitting = Fitting(settings, out, identity, train=crops["train"], held_out=crops["held_out"], device=where)
    fitting.go(progress)
    _save(out, fitting)
    report = _report(out, fitting, groups, photos, where)
    write_outpainter_card(out, report, _samples(out, groups["held_out"], settings.seed))
    with replacing(out / REPORT) as aside:
        aside.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    (out / CHECKPOINT).unlink()
    return report


def _check(settings: OutpainterTraining) -> None:
    if settings.steps < 1 or settings.batch < 1:
        raise UsageError(f"--steps {settings.steps}, --batch {settings.batch}: give at least 1")
    if settings.size < 4 * MULTIPLE or settings.size > 256:
        raise UsageError(f"--size {settings.size}: give {4 * MULTIPLE} to 256 pixels")
    if settings.width < GROUPS or settings.width > LARGEST or settings.width % GROUPS:
        raise UsageError(f"--width {settings.width}: give a multiple of {GROUPS} up to {LARGEST} (40 MB of weights)")


def _groups(photographs: Sequence[Photograph], folder: Path) -> dict[str, list[Photograph]]:
    splits = {photograph.split for photograph in photographs}
    held_out = "val" if "val" in splits else "test"
    groups = {"train": [p for p in photographs if p.split == TRAIN]}
    groups["held_out"] = [p for p in photographs if p.split == held_out]
    if len(groups["train"]) < 2 or not groups["held_out"]:
        raise UsageError(
            f"{folder} has {len(groups['train'])} photographs to train on and {len(groups['held_out'])} held out: "
            "the out-painter needs at least 2 and 1"
        )
    return groups


def _digest_of_all(groups: dict[str, list[Photograph]]) -> str:
    return digest_of(
        {
            name: [[p.name, hashlib.sha256(p.pixels.tobytes()).hexdigest()] for p in group]
            for name, group in groups.items()
        }
    )


def _finished(out: Path, identity: str) -> OutpainterReport | None:
    """The report of a finished training, with ``already_done``; RefusedError when it is another's."""
    path = out / REPORT
    if not path.exists():
        return None
    report: OutpainterReport = json.loads(path.read_text(encoding="utf-8"))
    if report.get("identity") != identity:
        raise RefusedError(other_run(out))
    return {**report, "already_done": True}


def _save(out: Path, fitting: Fitting) -> None:
    """Write diffusers' layout, its index last, so that an unfinished folder does not load."""
    aside = out / "partial"
    shutil.rmtree(aside, ignore_errors=True)
    pipeline: Any = SmallInpaintPipeline(fitting.network.eval(), fitting.scheduler)
    pipeline.save_pretrained(aside, safe_serialization=True)
    (out / "model_index.json").unlink(missing_ok=True)
    for name in ("unet", "scheduler"):
        shutil.rmtree(out / name, ignore_errors=True)
        (aside / name).replace(out / name)
    (aside / "model_index.json").replace(out / "model_index.json")
    shutil.rmtree(aside)


def _report(
    out: Path, fitting: Fitting, groups: dict[str, list[Photograph]], photos: Path, device: str
) -> OutpainterReport:
    return {
        "identity": fitting.identity,
        "digest": outpainter_digest(str(out)),
        "settings": asdict(fitting.settings),
        "options": OPTIONS,
        "photos": {name: [photograph.name for photograph in group] for name, group in groups.items()},
        "licences": _licences(photos / "credits.csv"),
        "parameters": sum(p.numel() for p in fitting.network.parameters()),
        "bytes": sum(path.stat().st_size for path in (out / "unet").glob("*.safetensors")),
        "history": fitting.history,
        "held_out_loss": fitting.history[-1][2],
        "seconds": round(fitting.seconds, 1),
        "device": device,
        "threads": torch.get_num_threads(),
    }


def _licences(table: Path) -> dict[str, str]:
    if not table.is_file():
        return {}
    with table.open(newline="", encoding="utf-8") as rows:
        return {Path(row["file"]).stem: row.get("licence") or "" for row in csv.DictReader(rows)}


def _samples(
    out: Path, photographs: Sequence[Photograph], seed: int
) -> list[tuple[Image, PaintRequest, Sequence[Image]]]:
    """Held-out photographs, the request that hides the border of each, and canvases painted with two seeds."""
    painter = SmallDiffusionSettings(kind="small-diffusion", model=str(out), device="cpu").build()
    rows: list[tuple[Image, PaintRequest, Sequence[Image]]] = []
    for photograph in photographs[:SHOWN]:
        height, width = photograph.pixels.shape[:2]
        key = seed_for(seed, "outpainter sample", photograph.name)
        own = PLACEMENT.model_copy(update={"aspects": (width / height,)})
        drawn = place((width, height), CELL, own, key)
        truth = np.asarray(Pillow.fromarray(photograph.pixels).resize(drawn.size, Pillow.Resampling.LANCZOS))
        x1, y1, x2, y2 = drawn.box_px
        requests = [PaintRequest(truth[y1:y2, x1:x2], None, drawn.box_px, drawn.size, key + turn) for turn in range(2)]
        rows.append((truth, requests[0], painter.paint(requests)))
    return rows
