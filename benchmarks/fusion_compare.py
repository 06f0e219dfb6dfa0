"""Compares the fusions of retrieved compositions: ``python -m benchmarks.fusion_compare --work DIR --epochs N --seeds 0,1,2``.

Trains the default cropper with ``attention`` (ours), ``token_mlp`` (the published layer) and ``none`` on a run directory's
dataset, with the same epochs, seeds, canvases, views and references, and measures each on held-out photographs: top-1 box
against the photo's rectangle. The table has 95 % intervals drawn by photo over each canvas's mean of the seeds, and the
differences to ours, paired by canvas and drawn the same way. ``val`` chooses each run's epoch, as in any training.

``--published`` adds the whole published architecture at equal input size and backbone: conditional DETR of 6 + 6 layers, 256
channels and 90 queries over the padded picture, its token MLP and its learning rate, with the embedded backbone, frozen as
ours. Like all of them it has the RoI score head, which chooses and moves its boxes.

With ``--folds N`` every photograph is held out once (``photo_folds.py``), so that intervals are over all of them; with no val split
the last epoch counts. ``--takes 2`` makes it a series, where the references are other takes of the same photographs.

Interrupted, the same command goes on: finished trainings are kept under ``--out``, an unfinished one resumes from its
checkpoint. What the frozen backbone sees is the same for every fusion, so it is remembered from one to the next.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import procrop_model.model_folder.build_network as building
from benchmarks.harness import OURS, finish, result, versions
from benchmarks.photo_folds import Fold, make_folds
from pipeline.core.errors import UsageError
from procrop_model import Cropper
from procrop_model.evaluation.baselines import MARGIN, finders
from procrop_model.evaluation.evaluate_run import MODEL, evaluate
from procrop_model.evaluation.metrics import bootstrap, crop_metrics
from procrop_model.network.backbone import Backbone
from procrop_model.network.config import ATTENTION, NONE, PUBLISHED, TOKEN_MLP, CropperConfig, published_config
from procrop_model.network.lite0 import Lite0Encoder
from procrop_model.network.lite0_files import lite0_side
from procrop_model.training.samples import read_split
from procrop_model.training.train import TrainConfig, train
from stages.backends.vision.u2net import U2NetSegmenter

FUSIONS = (ATTENTION, TOKEN_MLP, NONE)
PUBLISHED_RATE = 1e-4  # METHOD 4: post-norm layers do not stand ours
MEASURES = ("iou", "bde")
ROOM = 6 << 30  # bytes of remembered maps; beyond it they are computed each time
Memory = dict[bytes, list[Tensor]]


class Remembering(Backbone):
    """A frozen backbone that knows a single image again by its pixels."""

    memory: Memory

    def forward(self, images: Tensor) -> list[Tensor]:
        """As ``Backbone``."""
        if self.trainable or len(images) > 1:
            return super().forward(images)
        key = hashlib.blake2b(images.contiguous().numpy().tobytes(), digest_size=16).digest()
        if key not in self.memory:
            maps = super().forward(images)
            if sum(m.nbytes for m in maps) * (len(self.memory) + 1) > ROOM:
                return maps
            self.memory[key] = maps
        return self.memory[key]


@contextmanager
def remembering(memory: Memory) -> Iterator[None]:
    """Within it, every network that is built remembers what its frozen backbone saw."""
    plain: Callable[..., Backbone] = building.load_backbone

    def load(*args: Any, **options: Any) -> Backbone:
        backbone = plain(*args, **options)
        backbone.__class__ = Remembering
        backbone.memory = memory  # type: ignore[assignment]
        return backbone

    building.load_backbone = load  # type: ignore[assignment]
    try:
        yield
    finally:
        building.load_backbone = plain  # type: ignore[assignment]


def measured(cropper: Cropper, dataset: Path, split: str) -> list[dict[str, Any]]:
    """One row a canvas: key, photo, iou and bde of the best box; its own photo is never among its references."""
    samples, rows = read_split(dataset, split), []
    for index in range(len(samples)):
        sample = samples[index]
        (boxes,), _ = cropper.propose([sample.decode().image], exclude=[{sample.photo}])
        box = (float(boxes[0][0]), float(boxes[0][1]), float(boxes[0][2]), float(boxes[0][3]))
        metrics = crop_metrics(box, [sample.photo_box], sample.width, sample.height)
        rows.append({"key": sample.key, "photo": sample.photo, "iou": metrics.iou, "bde": metrics.bde})
    return rows


def config_of(contender: str, options: argparse.Namespace) -> TrainConfig:
    """How a contender, a fusion of our network or ``PUBLISHED``, is trained."""
    ours = TrainConfig(epochs=options.epochs, patience=0, seed=options.seed)
    if contender != PUBLISHED:
        return replace(ours, model=replace(CropperConfig(), fusion=contender, k=options.k))
    side = lite0_side(Lite0Encoder().digest)  # what one pass for crops and retrieval sets ours to
    model = replace(published_config(), backbone="lite0", train_backbone=False, input_side=side, k=options.k)
    return replace(ours, learning_rate=PUBLISHED_RATE, model=model)


def run(options: argparse.Namespace, contender: str, fold: Fold, out: Path) -> list[dict[str, Any]]:
    """Trains and measures one contender, or reads what was measured before."""
    file = out / f"measured-{options.split}.json"
    config = config_of(contender, options)
    summary = train(config, fold.dataset, retrieve_dir=fold.retrieve, out_dir=out)
    if not file.exists():
        file.write_text(
            json.dumps(measured(Cropper.load(out / "cropper", precision="fp32"), fold.dataset, options.split))
        )
    rows: list[dict[str, Any]] = json.loads(file.read_text())
    said = ", ".join(f"{name} {np.mean([row[name] for row in rows]):.3f}" for name in MEASURES)
    print(
        f"  {contender} seed {options.seed} {out.parent.name}: {said}, trained in {summary['seconds']:.0f} s",
        file=sys.stderr,
        flush=True,
    )
    return rows


def baselines(fold: Fold, split: str, cropper: Path) -> dict[str, list[dict[str, Any]]]:
    """The same figures of methods that learn nothing here, by name: what ``eval`` shows beside a model. Measured once."""
    file = fold.dataset / f"baselines-{split}.json"
    if not file.exists():
        found = evaluate(
            Cropper.load(cropper, precision="fp32"),
            fold.dataset,
            split,
            finders=finders(U2NetSegmenter().segment, MARGIN),
        )
        methods = [name for name in found["rows"] if name != MODEL]
        rows = {
            name: [{"key": row["key"], "photo": row["photo"], **row[name]} for row in found["images"]]
            for name in methods
        }
        file.write_text(json.dumps(rows))
    known: dict[str, list[dict[str, Any]]] = json.loads(file.read_text())
    return known


def main(arguments: Sequence[str]) -> None:
    """Parse options, train, measure, print the table and the RESULT line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fusion_compare", description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("work"), help="run directory with dataset and retrieve")
    parser.add_argument("--out", type=Path, default=None, help="for the trainings; default: WORK/models/fusion-compare")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--split", default="test")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--folds", type=int, default=0, help="hold every photograph out once, in so many folds; 0: --split"
    )
    parser.add_argument(
        "--takes", type=int, default=0, help="with --folds: references are so many other takes of each photo"
    )
    parser.add_argument("--k", type=int, default=CropperConfig().k)
    parser.add_argument("--fusions", default=",".join(FUSIONS))
    parser.add_argument("--published", action="store_true", help="the published architecture, too")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    out = options.out or options.work / "models" / "fusion-compare"
    seeds = [int(seed) for seed in options.seeds.split(",")]
    folds = _folds(options, out)
    contenders = options.fusions.split(",") + [PUBLISHED] * options.published
    if contenders[0] != ATTENTION or not set(contenders) <= {*FUSIONS, PUBLISHED}:
        raise UsageError(f"--fusions {options.fusions}: {ATTENTION} first, then any of {', '.join(FUSIONS[1:])}")
    rows: dict[str, list[list[dict[str, Any]]]] = {contender: [[] for _ in seeds] for contender in contenders}
    others: dict[str, list[dict[str, Any]]] = {}
    for place, options.seed in enumerate(seeds):
        with remembering({}):
            for name, fold in folds.items():
                for contender in contenders:
                    home = out / name / f"{contender}-{options.k}-{options.epochs}-{options.seed}"
                    rows[contender][place] += run(options, contender, fold, home)
    for name, fold in folds.items():
        home = out / name / f"{ATTENTION}-{options.k}-{options.epochs}-{seeds[0]}" / "cropper"
        for method, found in baselines(fold, options.split, home).items():
            others.setdefault(method, []).extend(found)
    _tell({**rows, **{method: [found] * len(seeds) for method, found in others.items()}}, options, seeds)


def _folds(options: argparse.Namespace, out: Path) -> dict[str, Fold]:
    if not options.folds:
        return {"split": Fold(options.work / "dataset", options.work / "retrieve")}
    home = out / (f"series-{options.takes}" if options.takes else "photos") / f"of-{options.folds}"
    folds = make_folds(options.work, home, options.folds, k=max(1, options.k), takes=options.takes)
    return {str(fold.dataset.parent.relative_to(out)): fold for fold in folds}


def _tell(rows: dict[str, list[list[dict[str, Any]]]], options: argparse.Namespace, seeds: list[int]) -> None:
    photos = [row["photo"] for row in rows[ATTENTION][0]]
    means = {
        fusion: {name: np.mean([[row[name] for row in seed] for seed in found], 0) for name in MEASURES}
        for fusion, found in rows.items()
    }  # [canvases], the mean of the seeds
    table = {
        fusion: {
            **{name: _rounded(bootstrap(mean[name], photos)) for name in MEASURES},
            **{
                f"{name}_minus_ours": _rounded(bootstrap(mean[name] - means[ATTENTION][name], photos))
                for name in MEASURES
            },
        }
        for fusion, mean in means.items()
    }
    print(f"{len(photos)} canvases of {len(set(photos))} photographs, {options.epochs} epochs, seeds {options.seeds}")
    print(f"{'':<12}" + "".join(f"{name:>32}" for name in table[ATTENTION]))
    for fusion, row in table.items():
        print(f"{fusion:<12}" + "".join(f"{_text(values):>32}" for values in row.values()))
    figures = {
        OURS if method == ATTENTION else method: [float(np.mean([row["iou"] for row in seed])) for seed in found]
        for method, found in rows.items()
    }
    env = {"work": options.work.name, "epochs": options.epochs, "split": options.split, **versions("torch")}
    env |= {"folds": options.folds, "takes": options.takes, "k": options.k}
    finish(
        result(
            "fusion-compare",
            "IoU",
            figures,
            higher_is_better=True,
            env=env,
            seeds=seeds,
            canvases=len(photos),
            rows=table,
        )
    )


def _rounded(values: list[float]) -> list[float]:
    return [round(value, 4) for value in values]


def _text(values: list[float]) -> str:
    mean, low, high = values
    return f"{mean:.3f} [{low:.3f}, {high:.3f}]"


if __name__ == "__main__":
    main(sys.argv[1:])
