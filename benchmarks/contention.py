"""How much longer two croppers take side by side than one alone, by how OpenMP's threads wait.

    procrop-data bench contention

``ours`` has the default of this package, OMP_WAIT_POLICY=PASSIVE; ``active`` waits as OpenMP does by itself when a processor is
free: threads spin and take the cores that the other process needs. The figure is seconds of two ``procrop-data crop`` commands
that start together divided by seconds of one, each over the same photographs: 2 when two share the machine without loss.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import OURS, alternate, finish, result
from pipeline.core.errors import ProcropError
from pipeline.core.resources import bundled

ROOT = Path(__file__).resolve().parents[1]
POLICIES = {OURS: "PASSIVE", "active": "ACTIVE"}
MOST = 2.1  # target for ours


def crop_seconds(photos: Path, policy: str, commands: int) -> float:
    """Seconds until ``commands`` crop commands that start together have all ended. Raises ProcropError when one fails."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": policy}
    command = [sys.executable, "-c", "from pipeline.cli import main; main()", "crop", str(photos), "--quiet", "--out"]
    with tempfile.TemporaryDirectory(prefix="procrop-contention-") as folder:
        started = time.perf_counter()
        running = [
            subprocess.Popen(
                [*command, str(Path(folder) / str(number))], env=environment, cwd=ROOT, text=True,
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            )
            for number in range(commands)
        ]  # fmt: skip
        errors = [process.communicate()[1] for process in running]
        took = time.perf_counter() - started
    for process, error in zip(running, errors, strict=True):
        if process.returncode:
            last = (error.strip().splitlines() or ["no message"])[-1]
            raise ProcropError(f"procrop-data crop ended with {process.returncode}: {last}")
    return took


def main(arguments: Sequence[str]) -> None:
    """Parse options, measure, print the RESULT line."""
    parser = argparse.ArgumentParser(
        prog="procrop-data bench contention", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=int, default=33, help="photographs that each command crops")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(list(arguments))
    seconds: dict[str, dict[str, list[float]]] = {name: {"alone": [], "two": []} for name in POLICIES}
    with tempfile.TemporaryDirectory(prefix="procrop-contention-") as folder:
        photos = Path(folder)
        chosen = sorted((bundled("assets") / "photos").glob("*.jpg"))[: options.photos]
        for path in chosen:
            shutil.copy(path, photos)

        def slowdown(name: str) -> float:
            took = [crop_seconds(photos, POLICIES[name], commands) for commands in (1, 2)]
            for kind, value in zip(("alone", "two"), took, strict=True):
                seconds[name][kind].append(round(value, 2))
            return took[1] / took[0]

        figures = alternate({name: lambda name=name: slowdown(name) for name in POLICIES}, options.rounds, warm_up=0)
    report = result(
        "contention", "two at once / one alone", figures, higher_is_better=False,
        env={"photos": len(chosen)}, most=MOST, seconds=seconds,
    )  # fmt: skip
    for name, value in {OURS: report[OURS], **report["peers"]}.items():
        print(f"OMP_WAIT_POLICY={POLICIES[name]}: two croppers at once take {value:.2f} times one alone")
    finish(report)
