"""Canvases a second, from encoded photograph to committed shard, beside the plain loop and the bare call of diffusers.

    procrop-data bench throughput
    procrop-data bench throughput --kind sdxl-inpaint --full --device cuda --dtype float16 --side 1024 --steps 30 --batch 8

Weights are random: speed does not depend on them. ``plain loop`` is the documentation's: a canvas at a time, decoded, painted and
saved. ``bare call`` is the pipeline alone on the same batches, with text features and pixels ready, nothing decoded or saved: what
ours takes beyond it is overhead. ``thread_overhead_percent`` is that of the model's thread alone, in processor time, which other
work on the machine hardly moves. All three paint the same requests; ours and the bare call must give equal pixels, asserted.
"""

import argparse
import io
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.harness import alternate, finish, result, versions
from benchmarks.random_pipelines import random_pipeline
from benchmarks.stand_ins import make_photos, stand_ins
from pipeline.app.progress import Display
from pipeline.app.refresh_sources import refresh_sources
from pipeline.app.session import Session
from pipeline.core.stage import Stage
from pipeline.engine.run_level_steps import run_prologue
from pipeline.engine.shard_runner import Control, run_shard
from pipeline.runs.plan import Plan, freeze_plan
from pipeline.runs.run_directory import Run, receipt_path
from pipeline.storage.open_store import open_store
from stages.backends.base.protocols import PaintRequest
from stages.backends.outpainters.diffusion.engine import DiffusionEngine
from stages.backends.outpainters.diffusion.framing import bucket_of, buckets, framed
from stages.backends.registry import ModelSettings
from stages.recipe import Recipe, stages_with

LOOP, BARE = "plain loop", "bare call"


class Painter:
    """The engine as a model of the run. Keeps its requests and results, and the seconds that the device computed."""

    name, licence, digest = "random", "none", "random01"

    def __init__(self, engine: DiffusionEngine) -> None:
        self.engine = engine
        self.requests: list[PaintRequest] = []
        self.canvases: list[Any] = []
        self.busy = self.thread_seconds = 0.0

    def paint(self, requests: Sequence[PaintRequest]) -> list[Any]:
        """Canvases, one a request."""
        started = time.perf_counter()
        painted = self.engine.paint(requests)
        self.busy += time.perf_counter() - started
        self.requests += requests
        self.canvases += painted
        return painted


def prepare(home: Path, painter: Painter, options: argparse.Namespace) -> tuple[Session, Stage]:
    """A run with everything before ``outpaint`` done in one work shard, and that stage."""
    variants = 5
    source = make_photos(home / "photos", -(-options.canvases // variants), (1024, 683))
    body = {
        "name": "throughput",
        "work_shards": 1,
        "ingest": {"source": str(source)},
        "outpaint": {
            "variants": variants, "held_out_variants": variants, "long_side": options.side, "micro_batch": options.batch,
            "placement": {"aspects": [1.0]},
        },
    }  # fmt: skip
    recipe = Recipe.model_validate(body)
    store = open_store(str(home / "work"))
    run = Run(store, freeze_plan(store, Plan(recipe.name, recipe.seed, 1, recipe.model_dump(mode="json"))))
    session = Session(recipe, run, stages_with(recipe, replace(stand_ins(), outpainter=painter)))
    refresh_sources(session, Display(quiet=True))
    for stage in session.stages:
        if stage.name == "outpaint":
            return session, stage
        if stage.prologue_needed:
            run_prologue(stage, session.run, dict.fromkeys(stage.upstream, 1))
        run_shard(stage, session.run, 0, Control())
    raise AssertionError("the recipe has no stage outpaint")


def ours(session: Session, stage: Stage, painter: Painter) -> float:
    """Canvases a second of ``run_shard``, starting with nothing done."""
    session.run.store.remove(receipt_path(stage.name, 0))
    painter.requests.clear()
    painter.canvases.clear()
    painter.busy, started, thread = 0.0, time.perf_counter(), time.thread_time()
    receipt = run_shard(stage, session.run, 0, Control())
    seconds = time.perf_counter() - started
    painter.busy /= seconds
    painter.thread_seconds = time.thread_time() - thread
    return float(receipt.n_in / seconds)


class BareCall:
    """The same batches, framed and with text features beforehand."""

    def __init__(self, engine: DiffusionEngine, requests: Sequence[PaintRequest]) -> None:
        s = engine._settings
        known = buckets(s.side, s.family.multiple, s.aspects)
        self.engine = engine
        framings = [(r, framed(r, bucket_of(r.size, known), s.overlap)) for r in requests]
        self.batches = [framings[i : i + engine.batch] for i in range(0, len(framings), engine.batch)]
        self.canvases: list[Any] = []
        self.thread_seconds = 0.0

    def __call__(self) -> float:
        """Canvases a second."""
        self.canvases.clear()
        started, thread = time.perf_counter(), time.thread_time()
        for batch in self.batches:
            self.canvases += self.engine._call([r for r, _ in batch], [f for _, f in batch])
        self.thread_seconds = time.thread_time() - thread
        return len(self.canvases) / (time.perf_counter() - started)


def plain_loop(
    pipe: Any, photos: Sequence[bytes], requests: Sequence[PaintRequest], options: argparse.Namespace, out: Path
) -> float:
    """Canvases a second of the loop that the documentation shows: everything for one canvas, then the next."""
    started = time.perf_counter()
    for number, (data, request) in enumerate(zip(photos, requests, strict=True)):
        x1, y1, x2, y2 = request.box_px
        with Image.open(io.BytesIO(data)) as photo:
            small = photo.convert("RGB").resize((x2 - x1, y2 - y1), Image.Resampling.LANCZOS)
        image, mask = Image.new("RGB", request.size, (128, 128, 128)), Image.new("L", request.size, 255)
        image.paste(small, (x1, y1))
        mask.paste(0, (x1, y1, x2, y2))
        guided = {} if options.kind == "flux-fill" else {"negative_prompt": request.negative_prompt}
        painted = pipe(
            prompt=request.prompt, image=image, mask_image=mask, height=request.size[1], width=request.size[0],
            strength=options.strength, num_inference_steps=options.steps, guidance_scale=options.guidance,
            generator=torch.Generator("cpu").manual_seed(request.seed), **guided,
        ).images[0]  # fmt: skip
        painted.paste(small, (x1, y1))
        painted.save(out / f"{number:06d}.jpg", quality=95)
    return len(requests) / (time.perf_counter() - started)


def measure(home: Path, options: argparse.Namespace) -> dict[str, Any]:
    """All contenders in alternating runs."""
    torch.set_num_threads(1 if options.device == "cpu" else torch.get_num_threads())
    given = {"kind": options.kind, "model": "random", "batch": options.batch, "side": options.side, "safety": False}
    given |= {
        "num_inference_steps": options.steps,
        "dtype": options.dtype,
        "device": options.device,
        "strength": 1.0,
        "compile": options.compile,
    }
    settings: Any = ModelSettings.model_validate({"outpainter": given}).outpainter
    options.guidance, options.strength = settings.guidance_scale, settings.strength
    pipe = random_pipeline(options.kind, not options.full, options.device, getattr(torch, options.dtype))
    painter = Painter(DiffusionEngine(settings, pipe))
    session, stage = prepare(home, painter, options)
    ours(session, stage, painter)
    requests = list(painter.requests)
    bare = BareCall(painter.engine, requests)
    shard = session.run.shard(stage, 0)
    photos = [shard.image("ingest", task.payload.photo.key) for task in stage.tasks(shard)]
    threads: list[float] = []

    def noted() -> float:
        """The bare call, and what the model's thread took in ours for each second that it takes here."""
        rate = bare()
        threads.append(painter.thread_seconds / bare.thread_seconds - 1)
        return rate

    contenders = {"ours": lambda: ours(session, stage, painter), BARE: noted}
    if not options.no_loop:
        (home / "loop").mkdir()
        contenders[LOOP] = lambda: plain_loop(pipe, photos, requests, options, home / "loop")
    figures = alternate(contenders, options.rounds, warm_up=0 if options.device == "cpu" else 1)
    assert len(painter.canvases) == len(bare.canvases) == len(requests)
    for mine, theirs in zip(painter.canvases, bare.canvases, strict=True):
        assert np.array_equal(mine, theirs), "ours and the bare call painted other pixels"
    overhead = [theirs / mine - 1 for mine, theirs in zip(figures["ours"], figures[BARE], strict=True)]
    return result(
        "throughput", "canvases/s", figures, higher_is_better=True, env=environment_of(options),
        overhead_percent=round(100 * statistics.median(overhead), 2),
        overhead_spread=[round(100 * min(overhead), 2), round(100 * max(overhead), 2)],
        thread_overhead_percent=round(100 * statistics.median(threads), 2),
        model_busy_percent=round(100 * painter.busy, 1), canvases=len(requests),
    )  # fmt: skip


def environment_of(options: argparse.Namespace) -> dict[str, Any]:
    """What the figures hang on."""
    names = ("kind", "full", "side", "steps", "batch", "dtype", "compile")
    device = (
        torch.cuda.get_device_name() if options.device.startswith("cuda") else "cpu, one thread a contender's model"
    )
    return {**{name: getattr(options, name) for name in names}, "device": device, **versions("torch", "diffusers")}


def main(arguments: Sequence[str]) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="procrop-data bench throughput", description=__doc__)
    parser.add_argument("--kind", default="sd15-inpaint", choices=("sd15-inpaint", "sdxl-inpaint", "flux-fill"))
    parser.add_argument("--full", action="store_true", help="the published architecture's size, for a GPU")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--canvases", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compile", default="none")
    parser.add_argument("--no-loop", action="store_true", help="leave out the plain loop")
    options = parser.parse_args(list(arguments))
    with tempfile.TemporaryDirectory(prefix="procrop-throughput-") as folder:
        finish(measure(Path(folder), options))


if __name__ == "__main__":
    main(sys.argv[1:])
