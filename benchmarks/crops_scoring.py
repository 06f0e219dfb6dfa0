"""``bench crops-scoring``: how fast the shipped scorer judges the candidate crops of canvases, beside another checkout's.

A round runs each contender in a process of its own: new pictures (encoder, mask and boxes), then the same ones again, whose
features are remembered, as in every later round of refinement. One thread; its CPU seconds, which other work on the machine
changes less than the clock's. ``cropper`` holds the cropper's RoI head beside one pass a crop (``crops_roi.py``).
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.crops_roi import roi_against_passes
from benchmarks.harness import OURS, alternate, finish, result
from pipeline.core.errors import UsageError

ROOT = Path(__file__).resolve().parents[1]
# Only names that every version of the scorer has, so that an older checkout can run it.
_WORK = """
import json, sys, time
import numpy as np, torch
from PIL import Image
from pipeline.core.resources import bundled
from stages.backends.scorers.composition import CompositionScorer
torch.set_num_threads(1)
count, side = int(sys.argv[1]), int(sys.argv[2])
pictures = []
for path in sorted((bundled("assets") / "photos").glob("*.jpg")):
    with Image.open(path) as photo:
        pictures.append(np.asarray(photo.convert("RGB").resize((side, side * 3 // 4))))
rng = np.random.default_rng(0)
try:
    from stages.backends.base.picture import LazyPicture
    pictures = [LazyPicture.of(picture) for picture in pictures]
except ImportError:  # an older scorer takes images
    pass
start = rng.uniform(0, 0.5, (count, 2))
share = np.concatenate([start, start + rng.uniform(0.3, 0.5, (count, 2))], 1)
boxes = [(share * ([side, side * 3 // 4] * 2)).astype(np.float32)] * len(pictures)
scorer = CompositionScorer()
scorer.score(pictures[:1], boxes[:1])
rates = {}
for name in ("new", "remembered"):
    began = time.process_time()
    scorer.score(pictures[1:], boxes[1:])
    rates[name] = (len(pictures) - 1) / (time.process_time() - began)
print(json.dumps({**rates, "digest": scorer.digest}))
"""


def main(arguments: Sequence[str]) -> None:
    """Parse options, measure, print the RESULT line."""
    parser = argparse.ArgumentParser(prog="procrop-data bench crops-scoring", description=__doc__)
    parser.add_argument("--against", type=Path, default=None, help="another checkout, for example of an older version")
    parser.add_argument("--boxes", type=int, default=100, help="crops a canvas")
    parser.add_argument("--cropper-boxes", type=int, default=90, help="crops a picture for the cropper's part")
    parser.add_argument("--side", type=int, default=192, help="long side of a canvas in pixels")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    if options.against and not options.against.is_dir():
        raise UsageError(f"--against '{options.against}': no such folder; give the root of another checkout")
    checkouts = {OURS: ROOT} | ({str(options.against.name): options.against.resolve()} if options.against else {})
    again: dict[str, list[float]] = {name: [] for name in checkouts}
    digests = {}

    def once(name: str) -> float:
        measured = _measured(checkouts[name], options.boxes, options.side)
        again[name].append(measured["remembered"])
        digests[name] = measured["digest"]
        return float(measured["new"])

    figures = alternate({name: lambda name=name: once(name) for name in checkouts}, options.rounds, warm_up=0)
    env = {"boxes": options.boxes, "side": options.side, "threads": 1, "scorers": digests}
    remembered = result("", "", again, higher_is_better=True, env={})
    finish(
        result(
            "crops-scoring", "canvases/CPU s", figures, higher_is_better=True, env=env,
            remembered={name: remembered[name] for name in (OURS, "peers", "ratio", "spread")},
            cropper=roi_against_passes(options.cropper_boxes, 512, rounds=options.rounds),
        )
    )  # fmt: skip


def _measured(checkout: Path, boxes: int, side: int) -> dict[str, float | str]:
    """Canvases a CPU second, new and remembered, by the scorer of a checkout; UsageError when that cannot run."""
    env = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", _WORK, str(boxes), str(side)]
    done = subprocess.run(command, cwd=checkout, env=env, check=False, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise UsageError(f"the scorer of '{checkout}' does not run ({last}): give a whole checkout as --against")
    measured: dict[str, float | str] = json.loads(done.stdout.splitlines()[-1])
    return measured
