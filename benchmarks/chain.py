"""Processor seconds a canvas, stage by stage, beside another checkout.

    procrop-data bench chain --long-side 512
    procrop-data bench chain --against ../older-checkout

Each stage is a command of its own with one worker and one thread; its user and system time is that of all its processes. A run of
``--photos`` photographs is compared with a run of one photograph. The cost of a canvas is the difference in seconds divided by the
difference in canvases; the rest of the small run is the start (imports, loading of models). With more photographs the cost is
more exact, because the time of a start changes by tenths of a second from command to command.
"""

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.harness import OURS, alternate, finish, result
from pipeline.core.errors import UsageError
from pipeline.core.resources import bundled

ROOT = Path(__file__).resolve().parents[1]
MAIN = "from pipeline.cli import main; main()"
# Every version of the command line registers the stages in the order of the recipe.
LIST_VERBS = "from pipeline.cli.app import app; print(*(command.name for command in app.registered_commands))"
FIRST, LAST = "ingest", "filter"
SUMS = PAINTING, JUDGING, ALL = "painting", "judging", "all"
GROUPS = {"outpaint": PAINTING, "perceive": JUDGING, "propose": JUDGING, "refine": JUDGING, "filter": JUDGING}


@dataclass(frozen=True)
class StageCost:
    """Processor seconds of one stage.

    Args:
        start: what a command takes without any canvas.
        canvas: seconds a canvas.
    """

    start: float
    canvas: float


def run_stages(checkout: Path, photos: Path, work: Path, long_side: int) -> tuple[dict[str, float], int]:
    """Processor seconds of each stage command up to ``filter``, and the number of canvases. Raises UsageError when one fails."""
    seconds: dict[str, float] = {}
    for verb in in_order(verbs_of(checkout)):
        recipe = [
            "--config", "demo", f"ingest.source={photos}", f"outpaint.long_side={long_side}", "work_shards=1",
        ]  # fmt: skip
        before = _child_seconds()
        _python(checkout, MAIN, verb, "--work", str(work), "--workers", "1", "--quiet", *recipe)
        seconds[verb] = seconds.get(verb, 0.0) + _child_seconds() - before
    return seconds, sum(pq.read_metadata(path).num_rows for path in (work / "outpaint").glob("*.parquet"))


def verbs_of(checkout: Path) -> list[str]:
    """The stage commands of a checkout, from the first to ``filter``."""
    verbs = _python(checkout, LIST_VERBS).split()
    return verbs[verbs.index(FIRST) : verbs.index(LAST) + 1]


def in_order(verbs: Sequence[str]) -> list[str]:
    """The commands to run: ``perceive`` before out-painting, for photographs, and again after it, for canvases."""
    again = ["perceive"] if "perceive" in verbs else []
    after = verbs.index("outpaint") + 1
    return [*verbs[:after], *again, *verbs[after:]]


def stage_costs(checkout: Path, photos: int, long_side: int) -> dict[str, StageCost]:
    """The cost of each stage by two runs of a checkout, of one photograph and of ``photos``."""
    with tempfile.TemporaryDirectory(prefix="procrop-chain-") as folder:
        home, runs = Path(folder), []
        for count in (photos, 1):  # the small run last: a first run also compiles modules and reads files from disk
            source = home / f"photos-{count}"
            source.mkdir()
            for path in sorted((bundled("assets") / "photos").glob("*.jpg"))[:count]:
                shutil.copy(path, source)
            runs.append(run_stages(checkout, source, home / f"work-{count}", long_side))
    large, small = runs
    return costs_by_difference(small, large)


def costs_by_difference(
    small: tuple[Mapping[str, float], int], large: tuple[Mapping[str, float], int]
) -> dict[str, StageCost]:
    """The cost of each stage by two runs, each as ``run_stages`` gives it. Raises UsageError for runs of equally many canvases."""
    (less, few), (more, many) = small, large
    if many <= few:
        raise UsageError(f"the larger run gave {many} canvases, that of one photograph {few}: give more --photos")
    canvas = {verb: (more[verb] - less[verb]) / (many - few) for verb in less}
    return {verb: StageCost(round(less[verb] - few * canvas[verb], 6), round(canvas[verb], 6)) for verb in less}


def summed(stages: Mapping[str, float]) -> dict[str, float]:
    """Seconds a canvas by stage, and the sums: of painting, of judging (perceive to filter), and of all."""
    sums = {group: sum(stages[verb] for verb in stages if GROUPS.get(verb) == group) for group in (PAINTING, JUDGING)}
    return {**stages, **sums, ALL: sum(stages.values())}


def _python(checkout: Path, code: str, *words: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, *words]
    done = subprocess.run(command, cwd=checkout, env=environment, check=False, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise UsageError(f"'{' '.join(words) or 'procrop-data'}' of '{checkout}' ended with {done.returncode}: {last}")
    return done.stdout


def _child_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _median_costs(rounds: Sequence[Mapping[str, StageCost]]) -> tuple[dict[str, float], float]:
    """Median seconds a canvas by stage with the sums, and of the starts of all commands together."""
    canvas = {verb: statistics.median(costs[verb].canvas for costs in rounds) for verb in rounds[0]}
    start = statistics.median(sum(cost.start for cost in costs.values()) for costs in rounds)
    return {name: round(value, 4) for name, value in summed(canvas).items()}, round(start, 2)


def table(columns: Mapping[str, Mapping[str, float]]) -> str:
    """Seconds a canvas by stage, one column a checkout; beside another's, how many times those of ours."""
    ours, *others = columns.values()
    stages = dict.fromkeys(name for column in columns.values() for name in column if name not in SUMS)
    lines = ["processor seconds a canvas", "".join(["stage".ljust(12), *(name[:14].rjust(16) for name in columns)])]
    for name in (*stages, *SUMS):
        cells = [f"{column[name]:16.4f}" if name in column else "-".rjust(16) for column in columns.values()]
        both = [other for other in others if name in other and ours.get(name, 0) > 0]
        lines.append("".join([name.ljust(12), *cells, *(f"  {other[name] / ours[name]:.2f} times" for other in both)]))
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> None:
    """Parse options, measure, print the table and the RESULT line."""
    parser = argparse.ArgumentParser(
        prog="procrop-data bench chain", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--against", type=Path, default=None, help="another checkout, for example of an older version")
    parser.add_argument("--photos", type=int, default=8, help="photographs of the larger run, at least 2")
    parser.add_argument("--long-side", type=int, default=192, help="long side of a canvas in pixels")
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args(list(arguments))
    if options.photos < 2:
        raise UsageError(f"--photos {options.photos}: give at least 2")
    if options.against and not (options.against / "pipeline").is_dir():
        raise UsageError(f"--against '{options.against}' is no checkout: give the folder that contains pipeline/")
    checkouts = {OURS: ROOT} | ({options.against.name: options.against.resolve()} if options.against else {})
    costs: dict[str, list[dict[str, StageCost]]] = {name: [] for name in checkouts}

    def once(name: str) -> float:
        costs[name].append(stage_costs(checkouts[name], options.photos, options.long_side))
        return sum(cost.canvas for cost in costs[name][-1].values())

    figures = alternate({name: lambda name=name: once(name) for name in checkouts}, options.rounds, warm_up=0)
    medians = {name: _median_costs(rounds) for name, rounds in costs.items()}
    columns = {name: canvas for name, (canvas, _) in medians.items()}
    print(table(columns))
    finish(
        result(
            "chain", "CPU s/canvas", figures, higher_is_better=False,
            env={"photos": options.photos, "long_side": options.long_side, "workers": 1, "threads": 1},
            stages=columns, start_seconds={name: start for name, (_, start) in medians.items()},
        )
    )  # fmt: skip
