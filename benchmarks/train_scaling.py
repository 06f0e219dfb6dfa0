"""``bench train-scaling``: training steps a second in two processes beside one, the same batches, one thread a process.

    procrop-data bench train-scaling --rounds 3

The default cropper (Lite0 at 224 pixels) on photographs; each process runs the trainer as ``torchrun`` starts it, over gloo on a
processor. ``kept``: a frozen backbone's features come from memory, as in all epochs after the first eight. ``drawn``: pictures are
decoded, augmented and go through the backbone, as in the first eight. A figure is 1 over the middle time of a step of the main
process; between epochs (checkpoint, validation) nothing is timed. The losses of both are compared: ``apart`` is how far the
last common step's totals are from one another, with dropout off (it draws other masks in each process).
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.harness import OURS, alternate, finish, result, versions
from benchmarks.payload import photographs, quiet_folder, write_dataset
from procrop_model.network.config import CropperConfig
from procrop_model.network.lite0 import Lite0Encoder
from procrop_model.retrieval.database import ReferenceDatabase
from procrop_model.retrieval.entries import Reference
from procrop_model.training.batches import BatchConfig
from procrop_model.training.train import TrainConfig, train

ONE = "one process"
ROOT = Path(__file__).resolve().parents[1]


def make_run(home: Path, canvases: int, side: int) -> None:
    """A run directory to train on: photographs with their middle as the pseudo-label, and twenty made-up references."""
    samples = []
    for key, parts in photographs(canvases, side):
        about = json.loads(parts["json"])
        box = [side // 8, side // 8, side // 2, side // 2]
        about |= {"width": side, "height": side, "photo_box": box, "crops": [box, [0, 0, side // 2, side // 3]]}
        about |= {"scores": [9.0, 5.0], "origins": ["photo", "grid"], "photo": key}
        samples.append((key, {**parts, "json": json.dumps(about).encode()}))
    write_dataset(home / "dataset", samples)
    rng, keys = np.random.default_rng(0), [f"reference{n}" for n in range(20)]
    vectors = rng.normal(size=(20, 320)).astype(np.float32)
    tokens = rng.normal(size=(20, 64, 320)).astype(np.float32)
    entries = [Reference(key, key, "", "", "", "", "") for key in keys]
    ReferenceDatabase.build(vectors, tokens, entries, Lite0Encoder().digest).save(home / "retrieve" / "references")
    rows = [
        {"key": key, "status": "kept", "references": keys[:5], "similarities": [0.9, 0.8, 0.7, 0.6, 0.5]}
        for key, _ in samples
    ]
    pq.write_table(pa.Table.from_pylist(rows), home / "retrieve" / "000000.parquet")


def one_of_several(home: Path, out: Path, batch: int, epochs: int) -> dict[str, Any]:
    """What each process does. Gives steps a second by regime, and the total loss of every step."""
    times: dict[int, list[float]] = {}
    totals: list[float] = []
    last = [time.perf_counter(), -1]

    def progress(done: int, total: int, losses: dict[str, float]) -> None:
        now, epoch = time.perf_counter(), (done - 1) * epochs // total
        if epoch == last[1]:
            times.setdefault(epoch, []).append(now - last[0])
        last[:] = now, epoch
        totals.append(losses["total"])

    config = TrainConfig(
        epochs=epochs, patience=0, checkpoint_seconds=1e9, model=CropperConfig(dropout=0.0),
        batch=replace(BatchConfig(), size=batch, views=1),
    )  # fmt: skip
    train(config, home / "dataset", retrieve_dir=home / "retrieve", out_dir=out, progress=progress)
    kept = [seconds for epoch, row in times.items() if epoch for seconds in row]
    rates = {"kept": 1 / statistics.median(kept), "drawn": 1 / statistics.median(times[0])}
    return {**rates, "losses": totals}


def launch(home: Path, processes: int, options: argparse.Namespace) -> dict[str, Any]:
    """Train in so many processes of one thread and give what the main one tells."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    with quiet_folder(home) as out:
        command = [
            sys.executable, "-m", "benchmarks.train_scaling", "--child", str(out), "--dir", str(home),
            "--batch", str(options.batch), "--epochs", str(options.epochs),
        ]  # fmt: skip
        shared = {"WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes, "MASTER_PORT": port, "OMP_NUM_THREADS": 1}
        children = []
        for rank in range(processes):
            variables = {"MASTER_ADDR": "127.0.0.1", **shared, "RANK": rank, "LOCAL_RANK": rank, "PYTHONPATH": ROOT}
            env = {**os.environ, **{name: str(value) for name, value in variables.items()}}
            children.append(subprocess.Popen(command, env=env, cwd=ROOT, stdout=subprocess.PIPE, text=True))
        said = [child.communicate()[0] for child in children]
    if any(child.returncode for child in children):
        raise SystemExit("a training process failed; what it said is above")
    told_first: dict[str, Any] = json.loads(said[0].strip().splitlines()[-1])
    return told_first


def main(arguments: Sequence[str]) -> None:
    """Parse options, measure, print the RESULT line."""
    parser = argparse.ArgumentParser(prog="procrop-data bench train-scaling", description=__doc__)
    parser.add_argument("--canvases", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16, help="canvases a step, over all processes")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--side", type=int, default=192, help="long side of the pictures")
    parser.add_argument("--dir", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)  # one process of a training, and where it writes
    options = parser.parse_args(list(arguments))
    if options.child:
        _child(options)
        return
    with quiet_folder(None) as home:
        make_run(home, options.canvases, options.side)
        _measure(home, options)


def _child(options: argparse.Namespace) -> None:
    import torch

    from procrop_model.training.distributed import end

    torch.set_num_threads(1)
    print(json.dumps(one_of_several(options.dir, options.child, options.batch, options.epochs)), flush=True)
    end()


def _measure(home: Path, options: argparse.Namespace) -> None:
    launched: dict[str, list[dict[str, Any]]] = {OURS: [], ONE: []}

    def contender(name: str, processes: int) -> float:
        launched[name].append(launch(home, processes, options))
        return float(launched[name][-1]["kept"])

    figures = alternate(
        {OURS: lambda: contender(OURS, options.processes), ONE: lambda: contender(ONE, 1)}, options.rounds, warm_up=0
    )
    drawn = {name: [run["drawn"] for run in runs] for name, runs in launched.items()}
    both = result("", "", drawn, higher_is_better=True, env={})
    ends = [launched[name][-1]["losses"][-1] for name in (OURS, ONE)]
    settings = {name: getattr(options, name) for name in ("canvases", "batch", "epochs", "processes", "side")}
    finish(
        result(
            "train-scaling", "steps/s", figures, higher_is_better=True,
            drawn={key: both[key] for key in (OURS, "peers", "ratio", "spread")},
            apart=abs(ends[0] / ends[1] - 1),
            env={**settings, **versions("torch", "accelerate"), "threads a process": 1, "load": os.getloadavg()[0]},
        )
    )  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1:])
