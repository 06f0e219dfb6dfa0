"""A dress rehearsal at full size: 242,000 small canvases through every stage with stand-in models, and what it costs.

    procrop-data bench rehearsal --photos 60500 --variants 4

Runs the recipe twice, on a tenth of the photographs and on all of them, each in a process of its own; then once more on
the finished run. Work shards and final shards grow with the photographs, so that a shard is the same size in both. The steps
that one process does for all photographs are timed apart, too (``benchmarks/run_steps.py``).
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from benchmarks.harness import environment, finish
from benchmarks.run_steps import step_growth
from benchmarks.stand_ins import make_photos, stand_ins
from pipeline.app.progress import Display, summary_of
from pipeline.app.refresh_sources import refresh_sources
from pipeline.app.session import Session
from pipeline.engine.executors.local import LocalExecutor
from pipeline.engine.runner import Options, run_stages
from pipeline.runs.plan import Plan, freeze_plan
from pipeline.runs.run_directory import Run
from pipeline.storage.open_store import open_store
from stages.recipe import Recipe, stages_with

CANVASES_A_SHARD = 1000
FINAL_SHARDS = 256
EVERY_S = 0.5
ROOT = Path(__file__).resolve().parents[1]


def recipe_for(source: Path, photos: int, variants: int, shards: int) -> Recipe:
    """The default recipe but for sizes: tiny photographs, tiny canvases, a thousand canvases a work shard.

    No canvas is dropped for what the stand-ins drew, so that all of them go through every stage; and their seam is not
    treated, which is arithmetic on pixels like a model's, and no part of the machine.
    """
    return Recipe.model_validate(
        {
            "name": "rehearsal",
            "work_shards": max(2, photos * variants // CANVASES_A_SHARD),
            "ingest": {"source": str(source), "limit": photos, "min_side": 16, "near_duplicate_bits": 6},
            "outpaint": {
                "variants": variants,
                "held_out_variants": variants,
                "long_side": 96,
                "micro_batch": 64,
                "seam": {"match": 0, "noise": 0},
                "checks": {"blank_share": 0, "seam_ratio": 1e6, "repeat_correlation": 1},
            },
            "filter": {"min_own_subject": 0, "max_cut_subject": 1, "canvas_quantile": 0},
            "perceive": {"micro_batch": 64},
            "propose": {"micro_batch": 64},
            "refine": {"micro_batch": 64},
            "build": {"shards": shards},
        }
    )


def session_for(recipe: Recipe, work: Path) -> Session:
    """The recipe's own stages around the stand-ins."""
    store = open_store(str(work))
    plan = freeze_plan(store, Plan(recipe.name, recipe.seed, recipe.work_shards, recipe.model_dump(mode="json")))
    return Session(recipe, Run(store, plan), stages_with(recipe, stand_ins()))


class PeakMemory:
    """Highest resident bytes of this process and of each of its workers, in order of their start; of this one by stage, too.

    stage: what to count under now.
    """

    def __init__(self) -> None:
        self._me, self._done = psutil.Process(), threading.Event()
        self.peaks: dict[int, int] = {}
        self.stage, self.by_stage = "", dict[str, int]()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(self, *ignored: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            for process in [self._me, *self._me.children()]:
                try:
                    used = process.memory_info().rss
                    self.peaks[process.pid] = max(self.peaks.get(process.pid, 0), used)
                    if process is self._me:
                        self.by_stage[self.stage] = max(self.by_stage.get(self.stage, 0), used)
                except psutil.NoSuchProcess:
                    continue
            if self._done.wait(EVERY_S):
                return


def rehearse(source: Path, work: Path, photos: int, variants: int, shards: int, workers: int) -> dict[str, Any]:
    """One run in this process and its workers; gives seconds by stage, peak memory, and what lies on disk after it."""
    session = session_for(recipe_for(source, photos, variants, shards), work)
    display, took = Display(quiet=False), {}
    started = time.perf_counter()
    with PeakMemory() as memory:
        memory.stage = "sources"
        refresh_sources(session, display)
        took["sources"] = time.perf_counter() - started
        kept: dict[str, int] = {}
        with LocalExecutor(session.run, session.stages, workers=workers, on_event=display.on_event) as executor:
            for stage in session.stages:
                memory.stage, begun = stage.name, time.perf_counter()
                (result,) = run_stages(
                    [stage], session.run, executor, watcher=display, options=Options(), chain=session.stages
                )
                took[stage.name] = time.perf_counter() - begun
                kept[stage.name] = summary_of(result)["kept"]
    seconds = time.perf_counter() - started
    files = [path for path in work.rglob("*") if path.is_file()]
    peaks = [round(peak / 2**20, 1) for _, peak in sorted(memory.peaks.items())]
    return {
        "photos": photos,
        "canvases": kept["outpaint"],
        "kept": kept["filter"],
        "samples": kept["build"],
        "seconds": round(seconds, 1),
        "cpu_seconds": round(_cpu_seconds(), 1),
        "stages": {name: round(value, 1) for name, value in took.items()},
        "peak_mib": {"main": peaks[0], "workers": peaks[1:]},
        "main_mib": {name: round(peak / 2**20, 1) for name, peak in memory.by_stage.items()},
        "files": len(files),
        "bytes": sum(path.stat().st_size for path in files),
    }


def _cpu_seconds() -> float:
    """Of this process and of its workers, which have ended: what other work on the machine moves less than the clock."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def main(arguments: Sequence[str]) -> None:
    """Both sizes, the rerun, and one RESULT line."""
    parser = argparse.ArgumentParser(prog="procrop-data bench rehearsal", description=__doc__)
    parser.add_argument("--photos", type=int, default=60_500)
    parser.add_argument("--variants", type=int, default=4)
    parser.add_argument("--shards", type=int, default=FINAL_SHARDS)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--dir", type=Path, help="where photographs and runs go; kept (default: temporary, removed)")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)  # one run, as a child of this command
    options = parser.parse_args(list(arguments))
    if options.one:
        work = options.dir / f"run-{options.photos}"
        report = rehearse(
            options.dir / "photos", work, options.photos, options.variants, options.shards, options.workers
        )
        print(json.dumps(report))
        return
    home = options.dir or Path(tempfile.mkdtemp(prefix="procrop-rehearsal-"))
    try:
        _measure(options, home)
    finally:
        if not options.dir:
            shutil.rmtree(home)


def _measure(options: argparse.Namespace, home: Path) -> None:
    print(f"making {options.photos} photographs", file=sys.stderr)
    make_photos(home / "photos", options.photos)
    tenth = _child(options, home, options.photos // 10, max(3, options.shards // 10))
    whole = _child(options, home, options.photos, options.shards)
    again = _child(options, home, options.photos, options.shards)
    scale = whole["canvases"] / tenth["canvases"]
    # Seconds a canvas in the whole over those in the tenth, without the start of the workers, which both pay once.
    growth = {
        name: round(seconds / max(tenth["stages"][name], 1e-9) / scale, 3)
        for name, seconds in whole["stages"].items()
        if tenth["stages"][name] >= 1
    }
    finish(
        {
            "bench": "rehearsal",
            "unit": "s",
            "ours": whole["seconds"],
            "peers": {},
            "ratio": {},
            "whole": whole,
            "tenth": tenth,
            "time_growth": round(whole["seconds"] / tenth["seconds"] / scale, 3),
            "cpu_growth": round(whole["cpu_seconds"] / tenth["cpu_seconds"] / scale, 3),
            "time_growth_by_stage": growth,
            "memory_growth": {
                "main": round(whole["peak_mib"]["main"] / tenth["peak_mib"]["main"], 3),
                "workers": round(max(whole["peak_mib"]["workers"]) / max(tenth["peak_mib"]["workers"]), 3),
            },
            "rerun_seconds": again["seconds"],
            "steps_of_one_process": step_growth(options.photos),
            "env": {**environment("pyarrow", "numpy", "pillow"), "workers": options.workers},
        }
    )


def _child(options: argparse.Namespace, home: Path, photos: int, shards: int) -> dict[str, Any]:
    command = [
        sys.executable, "-m", "benchmarks.rehearsal", "--one", "--dir", str(home), "--photos", str(photos),
        "--variants", str(options.variants), "--shards", str(shards), "--workers", str(options.workers),
    ]  # fmt: skip
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT)
    report: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    print(json.dumps(report), file=sys.stderr)
    return report


if __name__ == "__main__":
    main(sys.argv[1:])
