"""``bench cropper-train``: a training step and a prediction of our cropper beside the published architecture, on a processor.

Equal backbone (ResNet-50), equal picture (3:2, long side 1024), random weights and pixels, float32. The published network
is this package's own (``procrop_model/network/published``; a test holds its boxes equal to those of transformers' Conditional
DETR): pixels padded to a square, 90 queries, 640 reference tokens, 6 + 6 layers, backbone trained from layer 2 on. Ours, whose
timm backbones keep their maps channels-last:

- ``ours``: the default sizes at that backbone, which stays frozen, as the default has it;
- ``trained``: the same with the whole backbone learning, so that both sides do the same work there;
- ``kept``: the frozen backbone's features come from memory, as in all epochs after the first eight;
- ``embedded``: the default as it is, Lite0 at 224 pixels;
- ``bf16``: as ``trained``, with ``train.precision=bf16`` in a step and ``precision="bf16"`` of ``Cropper`` in a prediction.

A step is forward, losses, backward, clipping and AdamW. A prediction is backbone, network and what makes the boxes final:
for ours the RoI scores and the climb, for the published the order of the queries' scores. Retrieval is outside both. In
predictions ours have their batch norms folded into the convolutions, as ``Cropper`` has them; ``tuned`` is the published network
with the same and with maps channels-last, which its own code does not do.
``cpu`` has the ratios of processor seconds, which other work on the machine changes less than the clock's.
"""

import argparse
import time
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.harness import OURS, alternate, finish, result, versions
from procrop_model.inference.engine import ImageFeatures, Inputs
from procrop_model.inference.predictor import EncodedBatch, Predictor
from procrop_model.inference.torch_engine import TorchEngine
from procrop_model.model_folder.build_network import build_network
from procrop_model.network.config import CropperConfig, published_config, sizes_of
from procrop_model.network.fold_batchnorm import fold_batchnorms
from procrop_model.network.fusion import References
from procrop_model.network.lite0 import Lite0Encoder
from procrop_model.retrieval.database import ReferenceDatabase, SearchResult
from procrop_model.retrieval.entries import Reference
from procrop_model.retrieval.pad_references import PaddedReferences
from procrop_model.training.batches import Batch
from procrop_model.training.losses import LossConfig, set_loss, total_loss
from procrop_model.training.targets import TargetBatch, Targets
from procrop_model.training.train_step import TrainStep, view_features
from procrop_model.training.views import View

PUBLISHED, TUNED, BOXES = "published architecture", "tuned", 5


class Contender:
    """A network with an optimiser on fixed made-up samples; each call of ``step`` and ``infer`` gives its seconds."""

    def __init__(
        self, config: CropperConfig, sides: tuple[int, int], batch: int, *, kept: bool = False, precision: str = "fp32"
    ) -> None:
        torch.manual_seed(0)
        self.config = config
        self.network = build_network(config)
        self.images = [torch.randn(3, *sides) for _ in range(batch)]
        self.aspects = torch.full((batch,), sides[1] / sides[0])
        slots = torch.randn(batch, config.k, config.reference_tokens, config.reference_dim)
        present = torch.ones(batch, config.k, dtype=torch.bool)
        self.references = References(slots, torch.rand(batch, config.k), present)
        self.precision, self.network.reduced = precision, precision == "bf16"
        self.kept = self.network.extractor.levels(self.images) if kept else None
        low = torch.rand(batch, BOXES, 2) * 0.3
        self.boxes = torch.cat([low + 0.3, 0.3 + low], -1)  # cxcywh
        self.targets = TargetBatch.of([Targets(rows, torch.linspace(1, 0.5, BOXES)) for rows in self.boxes], low.device)
        learning = [p for p in self.network.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(learning, lr=1e-6, weight_decay=1e-4)
        self.cpu: list[float] = []  # processor seconds of each step and prediction, in turn
        self.engine = TorchEngine(self.network, config)
        self.predictor = Predictor(self.engine, config, _database(config)) if config.encoder else None

    def step(self) -> float:
        """One training step."""
        self.network.train()
        started, busy = time.perf_counter(), time.process_time()
        total_loss(self._losses(), LossConfig()).backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.cpu.append(time.process_time() - busy)
        return time.perf_counter() - started

    def _losses(self) -> dict[str, Tensor]:
        views = self._views()
        if self.predictor is None:  # the published losses: no vote, no RoI head
            features = view_features(self.network, views, self.aspects.device)
            return set_loss(self.network(features, self.aspects, self.references), self.targets, LossConfig())
        roi = torch.tensor([[0.1, 0.1, 0.8, 0.9]]).expand(len(self.images), 16, 4)
        batch = Batch(views, self.aspects, self.targets, self.references, roi, torch.zeros(len(self.images), 0, 4))
        return dict(TrainStep(self.network, LossConfig(), self.precision)(batch))

    def _views(self) -> list[View]:
        targets = Targets(self.boxes[0], torch.ones(BOXES))
        if self.kept is not None:
            return [View(None, tuple(level.half() for level in levels), 1.5, targets) for levels in self.kept]
        return [View(image, None, 1.5, targets) for image in self.images]

    @torch.no_grad()
    def infer(self) -> float:
        """One prediction of the batch."""
        self.network.eval()
        started, busy = time.perf_counter(), time.process_time()
        features = self.network.extract(self.images)
        output = self.network(features, self.aspects, self.references)
        if self.predictor is None:
            output.boxes[-1].gather(1, output.logits[-1].argsort(1, descending=True)[..., None].expand(-1, -1, 4))
        else:
            nothing = SearchResult(rows=[], similarities=[], keys=[])
            found, slots = [nothing] * len(self.images), self.references
            arrays = PaddedReferences(*(x.numpy() for x in (slots.tokens, slots.similarity, slots.present)))
            inputs = Inputs(ImageFeatures(features.pooled.numpy(), features), self.aspects.numpy(), arrays)
            self.predictor.propose(EncodedBatch(inputs, self.engine.decoded(output), found))
        self.cpu.append(time.process_time() - busy)
        return time.perf_counter() - started


def main(arguments: Sequence[str]) -> None:
    """Parse options, measure, print the RESULT line."""
    parser = argparse.ArgumentParser(prog="procrop-data bench cropper-train", description=__doc__)
    parser.add_argument("--side", type=int, default=1024, help="long side of the picture in pixels")
    parser.add_argument("--short", type=int, default=672, help="its short side, a multiple of 32")
    parser.add_argument("--backbone", default="resnet50", help="timm name")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    made = contenders(options.backbone, options.side, options.short, options.batch)
    steps = alternate({name: one.step for name, one in made.items()}, options.rounds)
    cpu_steps = {name: one.cpu[-options.rounds :] for name, one in made.items()}
    made[TUNED] = tuned(made[PUBLISHED])
    for name in (OURS, "trained", "bf16", "embedded"):
        fold_batchnorms(made[name].network.extractor.backbone)
    guesses = alternate(
        {name: one.infer for name, one in made.items() if name not in ("kept", "trained")}, options.rounds
    )
    cpu_guesses = {name: one.cpu[-options.rounds :] for name, one in made.items()}
    finish(
        result(
            "cropper-train", "s a step", _beside(steps, OURS), higher_is_better=False,
            env={**vars(options), **versions("torch", "timm"), "dtype": "float32"},
            also={name: _told(steps, name) for name in ("trained", "kept", "bf16", "embedded")},
            inference={name: _told(guesses, name) for name in (OURS, "bf16", "embedded", TUNED)},
            cpu={
                "step": {name: _told(cpu_steps, name)["ratio"] for name in (OURS, "trained", "kept", "bf16", "embedded")},
                "inference": {name: _told(cpu_guesses, name)["ratio"] for name in (OURS, "bf16", "embedded", TUNED)},
            },
        )
    )  # fmt: skip


def contenders(backbone: str, side: int, short: int, batch: int) -> dict[str, Contender]:
    """Everything measured, by name."""
    digest = Lite0Encoder().digest
    default = replace(sizes_of("procrop"), encoder=digest)
    equal = replace(default, backbone=backbone, input_side=side, input_mode="fit")
    published = replace(published_config(), backbone=backbone, input_side=side)
    sides = (short, side)
    return {
        OURS: Contender(equal, sides, batch),
        "trained": Contender(replace(equal, train_backbone=True), sides, batch),
        "kept": Contender(equal, sides, batch, kept=True),
        "bf16": Contender(replace(equal, train_backbone=True), sides, batch, precision="bf16"),
        "embedded": Contender(default, (default.input_side, default.input_side), batch),
        PUBLISHED: Contender(published, sides, batch),
    }


def tuned(published: Contender) -> Contender:
    """The published network with what makes ours quick on a processor."""
    copy = deepcopy(published)
    copy.network.extractor.backbone.to(memory_format=torch.channels_last)
    fold_batchnorms(copy.network.extractor.backbone)
    return copy


def _database(config: CropperConfig) -> ReferenceDatabase:
    """One made-up reference: what the predictor asks for and never searches here."""
    vectors = np.ones((1, 320), np.float32)
    tokens = np.ones((1, config.reference_tokens, config.reference_dim), np.float32)
    return ReferenceDatabase.build(vectors, tokens, [Reference("a", "a", "", "", "", "", "")], config.encoder)


def _beside(figures: dict[str, list[float]], name: str) -> dict[str, list[float]]:
    return {OURS: figures[name], PUBLISHED: figures[PUBLISHED]}


def _told(figures: dict[str, list[float]], name: str) -> dict[str, object]:
    """Seconds of one of ours and of the published, with the ratio of paired rounds."""
    measured = result("", "", _beside(figures, name), higher_is_better=False, env={})
    return {key: measured[key] for key in (OURS, "peers", "ratio", "spread")}
