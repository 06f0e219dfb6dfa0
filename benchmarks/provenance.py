"""What the XMP in each canvas costs ``build``: a final shard of the same samples with it and without, in processor time.

procrop-data bench provenance [--samples 1000] [--rounds 15] [--side 512]
"""

import argparse
import hashlib
import io
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict

import numpy as np

from benchmarks.harness import OURS, alternate, finish, result
from benchmarks.payload import megabytes, photographs, quiet_folder
from benchmarks.stand_ins import stand_ins
from pipeline.core.stage import Outcome, Shard, Task
from pipeline.engine.shard_runner import Control, run_shard
from pipeline.runs.plan import Plan, freeze_plan
from pipeline.runs.run_directory import Run, receipt_path
from pipeline.storage.base import checked
from pipeline.storage.open_store import open_store
from stages.build import Build, BuildSettings, _LeftOut, _Placed
from stages.publishing.final_sample import FinalSample

PEER, BEFORE = "without XMP", "version 3"
IMAGES = "images"  # the file of the run directory that holds the canvases


class Marked(Build):
    """``build`` on samples that are given: it needs no stage before it."""

    prologue_needed = epilogue_needed = regroups = False
    upstream = ()

    def __init__(self, tasks: list[Task[_Placed]]) -> None:
        """tasks: the samples."""
        models = stand_ins()
        super().__init__(BuildSettings(), models.scorer, models.encoder, [("outpainter", "painter", "MIT")])
        self._tasks = tasks

    def tasks(self, shard: Shard) -> list[Task[_Placed]]:
        return self._tasks

    def paths(self, shard: int, shared: Callable[[str], bytes]) -> tuple[str, str]:
        return "build/a.tar", "build/a.parquet"

    def index_path(self, shard: int, shared: Callable[[str], bytes]) -> str:
        return "build/a.idx"

    def shards(self, work_shards: int) -> int:
        return 1


class Unmarked(Marked):
    """The same without provenance."""

    def _marked(self, image: bytes, item: _Placed, sample: FinalSample) -> bytes:
        return image


class Before(Marked):
    """As it was before version 4: no provenance, and ``np.save`` makes the header of each array."""

    def _one(self, item: _Placed | _LeftOut, shard: Shard) -> Outcome:
        assert isinstance(item, _Placed)
        data = shard.read_range(item.path, item.offset, item.size)
        image = checked(data, item.sha256, item.key)
        sample, sink = FinalSample(**json.loads(item.sample)), io.BytesIO()
        rows = [[*box, score] for box, score in zip(sample.crops, sample.scores, strict=True)]
        np.save(sink, np.asarray(rows, np.float32).reshape(-1, 5), allow_pickle=False)
        return Outcome.kept(sample, {"jpg": image, "json": item.sample.encode(), "npy": sink.getvalue()})


def items_of(pictures: Sequence[tuple[str, dict[str, bytes]]]) -> tuple[list[Task[_Placed]], bytes]:
    """Tasks of ``build``, and the file that holds their images."""
    tasks, data = [], b"".join(parts["jpg"] for _, parts in pictures)
    offset = 0
    for key, parts in pictures:
        image = parts["jpg"]
        sample = FinalSample(
            key, "0" * 24, 512, 384, [10, 20, 300, 250], [[10.0, 20.0, 300.0, 250.0]] * 6, [5.5] * 6, ["photo"] * 6,
            "the surroundings of a meadow, same light, same style, natural continuation", "collage", 12345, "painter@0123456789",
            "scorer@0123456789", "CC-BY-SA-4.0", "An Author", "https://example.org/photographs/12345",
        )  # fmt: skip
        placed = _Placed(
            key, json.dumps(asdict(sample)), "a meadow & autumn woods", "https://creativecommons.org/licenses/by-sa/4.0/", IMAGES,
            offset, len(image), hashlib.sha256(image).hexdigest(),
        )  # fmt: skip
        offset += len(image)
        tasks.append(Task(key, placed))
    return tasks, data


def main(arguments: Sequence[str]) -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(prog="bench provenance", description=__doc__)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--side", type=int, default=512, help="longer side of the canvases, in pixels")
    options = parser.parse_args(arguments)
    pictures = photographs(options.samples, options.side)
    tasks, data = items_of(pictures)
    size = megabytes(pictures)

    def rate(stage: Marked) -> float:
        if run.store.exists(receipt_path(stage.name, 0)):
            run.store.remove(receipt_path(stage.name, 0))
        started = time.process_time()
        run_shard(stage, run, 0, Control())
        return size / (time.process_time() - started)

    with quiet_folder(None) as home:
        store = open_store(str(home))
        run = Run(store, freeze_plan(store, Plan("bench", 0, 1, {})))
        store.write(IMAGES, data)
        contenders = {
            OURS: lambda: rate(Marked(tasks)),
            PEER: lambda: rate(Unmarked(tasks)),
            BEFORE: lambda: rate(Before(tasks)),
        }
        figures = alternate(contenders, options.rounds)
    env = {"samples": options.samples, "kilobytes_a_canvas": round(1000 * size / options.samples, 1)}
    finish(result("provenance", "MB a processor second", figures, higher_is_better=True, env=env))
