"""Out-painting against the truth: the border of whole held-out photographs is hidden, painted again, and compared.

    procrop-data bench outpaint [--side 192] [--layouts 2] [--seeds 2] [--pictures FOLDER] [--learned FOLDER]

Contenders: the embedded out-painter ('ours'), and reflection, Telea and shift-map ('absent' without OpenCV), which have
no seed and paint once a rectangle; with --learned a model of ``train-outpainter``, alone and as the coarse scale under
the embedded one. Measures, lower is better but for diversity:
paired features and texture (Lite0, four levels), colour and gradient at the seam, and how well a probe of the bench's
own tells the frame (area under the curve, left out by photograph; it is no substitute for the full seam audit).
Differences to ours come with 95 % bootstrap intervals over photographs, the unit of sampling.
"""

import argparse
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from PIL import Image as Pillow

from benchmarks import harness
from benchmarks.outpaint_card import outlined, sheet
from benchmarks.outpaint_cases import Case, cases
from benchmarks.outpaint_measures import FeatureDistance, seam
from benchmarks.outpaint_peers import pasted, peers
from benchmarks.seam_probe import auc_by_photo, windows
from stages.backends.base.protocols import Image, Outpainter, PaintRequest
from stages.backends.outpainters.patch_diffusion.backend import PatchOutpainter
from stages.backends.outpainters.small_diffusion.backend import SmallDiffusionSettings
from stages.backends.vision.u2net import U2NetSegmenter

LOWER = ("features", "texture", "colour", "gradient", "seam_auc")
RESAMPLES = 10_000

Paint = Callable[[PaintRequest], Image]


@dataclass
class Figures:
    """What one contender came to. by_photo: measure -> photograph -> mean over its canvases. seconds: of each canvas."""

    by_photo: dict[str, dict[str, float]]
    seconds: list[float]
    canvases: dict[str, list[Image]] = field(repr=False)

    def mean(self, measure: str) -> float:
        """Over photographs."""
        return float(np.mean(list(self.by_photo[measure].values())))


def figures(paint: Paint, all_cases: Sequence[Case], distance: FeatureDistance) -> Figures:
    """Paint every request of every case and measure the canvases."""
    values: dict[str, dict[str, list[float]]] = {}
    painted: dict[str, list[Image]] = {}
    fake: dict[str, list[np.ndarray]] = {}
    true: dict[str, list[np.ndarray]] = {}
    seconds = []
    for case in all_cases:
        canvases = []
        for request in case.requests:
            start = time.process_time()
            canvas = paint(request)
            seconds.append(time.process_time() - start)
            canvases.append(pasted(canvas, request))
        painted.setdefault(case.photo, []).extend(canvases)
        for name, value in compared(case, canvases, distance).items():
            values.setdefault(name, {}).setdefault(case.photo, []).append(value)
        box = case.requests[0].box_px
        fake.setdefault(case.photo, []).extend(windows(canvas, box) for canvas in canvases)
        true.setdefault(case.photo, []).append(windows(case.truth, box))
    means = {name: {photo: float(np.mean(v)) for photo, v in found.items()} for name, found in values.items()}
    means["seam_auc"] = auc_by_photo(fake, true)
    return Figures(means, seconds, painted)


def compared(case: Case, canvases: Sequence[Image], distance: FeatureDistance) -> dict[str, float]:
    """The measures of one case, means over its seeds; diversity is the mean feature distance between two seeds."""
    hidden, truth = case.hidden, distance.of(case.truth)
    found = [distance.of(canvas) for canvas in canvases]
    colour, gradient = np.mean([seam(canvas, case.truth, case.requests[0].box_px) for canvas in canvases], 0)
    pairs = [distance.paired(a, b, hidden) for a, b in combinations(found, 2)]
    return {
        "features": float(np.mean([distance.paired(one, truth, hidden) for one in found])),
        "texture": float(np.mean([distance.texture(one, truth, hidden) for one in found])),
        "colour": float(colour),
        "gradient": float(gradient),
        "diversity": float(np.mean(pairs)) if pairs else 0.0,
    }


def difference(ours: dict[str, float], peer: dict[str, float]) -> tuple[float, float, float]:
    """Mean of (peer - ours) over photographs and its 95 % bootstrap interval; above 0: ours is closer to the truth."""
    gaps = np.array([peer[photo] - ours[photo] for photo in ours])
    drawn = np.random.default_rng(0).integers(0, len(gaps), (RESAMPLES, len(gaps)))
    low, high = np.percentile(gaps[drawn].mean(1), [2.5, 97.5])
    return round(float(gaps.mean()), 4), round(float(low), 4), round(float(high), 4)


def table(found: dict[str, Figures], absent: Sequence[str]) -> None:
    """Means over photographs, then what each peer is worse by."""
    columns = (*LOWER, "diversity", "seconds")
    print(f"{'':17}" + "".join(f"{name:>11}" for name in columns))
    for name, one in found.items():
        row = [one.mean(measure) for measure in columns[:-1]] + [float(np.median(one.seconds))]
        print(f"{name:17}" + "".join(f"{value:11.3f}" for value in row))
    for name in absent:
        print(f"{name:17}     absent")
    print("worse than ours by (95 % interval)")
    for name, gaps in differences(found).items():
        cells = [f"{measure} {gap:+.3f} [{low:+.3f}, {high:+.3f}]" for measure, (gap, low, high) in gaps.items()]
        print(f"{name:17}" + "  ".join(cells))


def differences(found: dict[str, Figures]) -> dict[str, dict[str, tuple[float, float, float]]]:
    """Peer -> measure -> ``difference`` to ours."""
    ours = found[harness.OURS].by_photo
    peer_figures = {name: one.by_photo for name, one in found.items() if name != harness.OURS}
    return {
        name: {measure: difference(ours[measure], theirs[measure]) for measure in LOWER}
        for name, theirs in peer_figures.items()
    }


def pictures(folder: Path, all_cases: Sequence[Case], found: dict[str, Figures]) -> None:
    """One sheet a contender: the truth with the visible part outlined, then up to two seeds of each case."""
    folder.mkdir(parents=True, exist_ok=True)
    side = max(max(case.truth.shape) for case in all_cases)
    seeds = Counter(case.photo for case in all_cases for _ in case.requests)
    for name, one in found.items():
        rows, left = [], {photo: list(canvases) for photo, canvases in one.canvases.items()}
        for case in all_cases:
            count = len(one.canvases[case.photo]) * len(case.requests) // seeds[case.photo]
            mine = [left[case.photo].pop(0) for _ in range(count)]
            rows.append([outlined(case.truth, case.requests[0].box_px), *map(Pillow.fromarray, mine[:2])])
        sheet(rows, side).save(folder / f"{name}.png")


def main(arguments: Sequence[str]) -> None:
    """Paint, measure, print the table and the RESULT line."""
    parser = argparse.ArgumentParser(prog="procrop-data bench outpaint", description=__doc__)
    parser.add_argument("--side", type=int, default=192, help="long side of the canvases in pixels")
    parser.add_argument("--layouts", type=int, default=2, help="visible rectangles a photograph")
    parser.add_argument("--seeds", type=int, default=2, help="canvases a rectangle")
    parser.add_argument("--splits", nargs="+", default=["test", "val"], choices=["test", "val", "train"])
    parser.add_argument("--pictures", type=Path, help="folder for a sheet of pictures of each contender")
    parser.add_argument("--learned", type=Path, help="folder of a model that train-outpainter wrote, to compare too")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    all_cases = cases(
        options.splits, side=options.side, layouts=options.layouts, seeds=options.seeds, segmenter=U2NetSegmenter()
    )
    distance = FeatureDistance(all_cases)
    once = [replace(case, requests=case.requests[:1]) for case in all_cases]
    fills, absent = peers()
    found = {harness.OURS: figures(embedded(PatchOutpainter()), all_cases, distance)}
    found |= {name: figures(paint, all_cases, distance) for name, paint in learned(options.learned).items()}
    found |= {name: figures(fill, once, distance) for name, fill in fills.items()}
    table(found, absent)
    if options.pictures:
        pictures(options.pictures, all_cases, found)
    report = harness.result(
        "outpaint",
        "feature distance to the hidden truth",
        {name: list(one.by_photo["features"].values()) for name, one in found.items()},
        higher_is_better=False,
        env={"side": options.side, "canvases": sum(len(c.requests) for c in all_cases), "threads": 1}
        | harness.versions("torch", "diffusers", "opencv-contrib-python-headless"),
        absent=absent,
        measures={name: summary(one) for name, one in found.items()},
        worse_by=differences(found),
    )
    harness.finish(report)


def summary(one: Figures) -> dict[str, float]:
    """Every measure's mean over photographs, and the median CPU seconds of a canvas."""
    means = {measure: round(one.mean(measure), 4) for measure in one.by_photo}
    return {**means, "seconds": round(float(np.median(one.seconds)), 3)}


def embedded(painter: Outpainter) -> Paint:
    """An out-painter as a contender, its engine loaded."""
    small = PaintRequest(np.full((8, 8, 3), 99, np.uint8), None, (4, 4, 12, 12), (16, 16), 0)
    painter.paint([small])

    def paint(request: PaintRequest) -> Image:
        canvas = painter.paint([request])[0]
        assert isinstance(canvas, np.ndarray)
        return canvas

    return paint


def learned(folder: Path | None) -> dict[str, Paint]:
    """A trained model as two contenders: enlarged, and with the detail of the patch diffusion."""
    if folder is None:
        return {}
    alone = SmallDiffusionSettings(kind="small-diffusion", model=str(folder))
    under = alone.model_copy(update={"detail": "patch"})
    return {"small": embedded(alone.build()), "small+patch": embedded(under.build())}


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
