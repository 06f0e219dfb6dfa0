"""What the machine costs: a shard of 1,000 canvases with models that do nothing, beside a bare loop over the same functions.

    procrop-data bench overhead

The bare loop calls the stage batch by batch, writes a tar with ``tarfile`` and a Parquet, hashes both, flushes and renames them.
It has no lock, no journal, no receipt, no progress, and starts over when it is killed. Both write equal samples, asserted.
"""

import argparse
import hashlib
import io
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import alternate, finish, result
from benchmarks.rehearsal import recipe_for, session_for
from benchmarks.stand_ins import make_photos
from pipeline.app.progress import Display
from pipeline.app.refresh_sources import refresh_sources
from pipeline.app.session import Session
from pipeline.core.stage import Stage
from pipeline.engine.run_level_steps import run_prologue
from pipeline.engine.shard_runner import Control, run_shard
from pipeline.runs.run_directory import receipt_path
from pipeline.shards import parquet
from pipeline.storage.local import fsync_folder

PHOTOS, VARIANTS, SIZE = 250, 4, (320, 240)
BARE = "bare loop"


def prepare(home: Path) -> tuple[Session, Stage]:
    """A run with everything before ``outpaint`` done in one work shard, and that stage."""
    make_photos(home / "photos", PHOTOS, SIZE)
    recipe = recipe_for(home / "photos", PHOTOS, VARIANTS, 4).model_copy(update={"work_shards": 1})
    session = session_for(recipe, home / "work")
    refresh_sources(session, Display(quiet=True))
    for stage in session.stages:
        if stage.name == "outpaint":
            return session, stage
        if stage.prologue_needed:
            run_prologue(stage, session.run, dict.fromkeys(stage.upstream, 1))
        run_shard(stage, session.run, 0, Control())
    raise AssertionError("the recipe has no stage outpaint")


def ours(session: Session, stage: Stage) -> float:
    """Seconds of ``run_shard``, starting with nothing done."""
    session.run.store.remove(receipt_path(stage.name, 0))
    started = time.perf_counter()
    run_shard(stage, session.run, 0, Control())
    return time.perf_counter() - started


def bare(session: Session, stage: Stage, out: Path) -> float:
    """Seconds of a loop that leaves the same two files."""
    started = time.perf_counter()
    shard = session.run.shard(stage, 0)
    tasks, rows = stage.tasks(shard), []
    with open(out / "partial", "wb") as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for start in range(0, len(tasks), stage.micro_batch):
                for outcome in stage.run(tasks[start : start + stage.micro_batch], shard):
                    for extension, data in (outcome.files or {}).items():
                        member = tarfile.TarInfo(f"{outcome.key}.{extension}")
                        member.size = len(data)
                        place = (file.tell() + tarfile.BLOCKSIZE, len(data), hashlib.sha256(data).hexdigest())
                        tar.addfile(member, io.BytesIO(data))
                        rows.append(parquet.row_of(outcome, place))
        file.flush()
        os.fsync(file.fileno())
    hashlib.sha256((out / "partial").read_bytes()).hexdigest()
    os.replace(out / "partial", out / "000000.tar")
    table = parquet.encode(rows, parquet.schema_of(stage.record, images=True))
    hashlib.sha256(table).hexdigest()
    with open(out / "partial", "wb") as file:
        file.write(table)
        file.flush()
        os.fsync(file.fileno())
    os.replace(out / "partial", out / "000000.parquet")
    fsync_folder(out)
    return time.perf_counter() - started


def members(path: Path) -> dict[str, bytes]:
    """Bytes of a tar's files by name."""
    with tarfile.open(path) as tar:
        found = {info.name: tar.extractfile(info) for info in tar}
        return {name: file.read() for name, file in found.items() if file is not None}


def help_seconds(runs: int) -> float:
    """Median of the whole process ``procrop-data --help``."""
    took = []
    for _ in range(runs):
        started = time.perf_counter()
        subprocess.run([Path(sys.executable).parent / "procrop-data", "--help"], stdout=subprocess.DEVNULL, check=True)
        took.append(time.perf_counter() - started)
    return round(statistics.median(took), 3)


def main(arguments: Sequence[str]) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="procrop-data bench overhead", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args(list(arguments))
    with tempfile.TemporaryDirectory(prefix="procrop-overhead-") as folder:
        home = Path(folder)
        (home / "bare").mkdir()
        session, stage = prepare(home)
        figures = alternate(
            {"ours": lambda: ours(session, stage), BARE: lambda: bare(session, stage, home / "bare")}, options.rounds
        )
        mine = members(home / "work" / "outpaint" / "000000.tar")
        assert mine == members(home / "bare" / "000000.tar") and len(mine) == PHOTOS * VARIANTS
    over = [a / b - 1 for a, b in zip(figures["ours"], figures[BARE], strict=True)]
    finish(
        result(
            "overhead", "s a shard", figures, higher_is_better=False,
            env={"samples": PHOTOS * VARIANTS, "canvas": "96 px", "cache": "warm"},
            overhead_percent=round(100 * statistics.median(over), 2), help_seconds=help_seconds(5),
        )
    )  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1:])
