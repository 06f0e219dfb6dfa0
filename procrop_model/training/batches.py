"""Which samples, views and references make up each training step: a function of the seed, the epoch and the step
alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.core.seeds import seed_for
from procrop_model.answer.typical_crops import typical_crops
from procrop_model.network.config import CropperConfig
from procrop_model.network.fusion import References, Text
from procrop_model.network.text import pad_texts
from procrop_model.retrieval.database import Neighbour, ReferenceDatabase
from procrop_model.retrieval.pad_references import pad_references
from procrop_model.training.augment import AugmentConfig
from procrop_model.training.prefetch import PrefetchedViews
from procrop_model.training.targets import TargetBatch, Targets
from procrop_model.training.taught import TaughtBatch, TaughtViews
from procrop_model.training.views import View, Views

SMALLEST = 0.02  # least side, in 0..1, of boxes that the RoI head is trained on


@dataclass(frozen=True)
class Batch:
    """B canvases ready for a step.

    Args:
        views: the canvases.
        aspects: [B], width / height.
        targets: annotated crops.
        references: of each canvas.
        roi: [B, R, 4] xyxy in 0..1, boxes for the RoI head to score.
        typical: [B, T, 4] xyxy in 0..1, typical crops that it compares.
        text: captions, or None for a model without text.
        taught: views of scored photographs, or None.
    """

    views: list[View]
    aspects: Tensor
    targets: TargetBatch
    references: References
    roi: Tensor
    typical: Tensor
    text: Text | None = None
    taught: TaughtBatch | None = None

    def to(self, device: torch.device) -> "Batch":
        """Copies all but the views to a device; the step moves those."""
        references, text = self.references.to(device), None if self.text is None else self.text.to(device)
        roi, typical = self.roi.to(device), self.typical.to(device)
        taught = None if self.taught is None else self.taught.to(device)
        targets = self.targets.to(device)
        return Batch(self.views, self.aspects.to(device), targets, references, roi, typical, text, taught)


@dataclass(frozen=True)
class BatchConfig:
    """How batches are made.

    Args:
        size: canvases per step.
        views: augmented views per canvas; they repeat in later epochs.
        plain: share of canvases shown without references, in 0..1.
        drop: probability that a reference is left out, in 0..1.
        roi: boxes per canvas for the RoI head.
        typical: of the model's typical crops, how many are compared in a step.
        taught: probability that a canvas is accompanied by a scored photograph, where there are some.
    """

    size: int = 8
    views: int = 8
    plain: float = 0.15
    drop: float = 0.15
    roi: int = 16
    typical: int = 96
    taught: float = 0.5


class BatchMaker:
    """Makes batches from views, neighbours and references."""

    def __init__(  # noqa: PLR0913 - all by name
        self,
        *,
        views: Views | PrefetchedViews,
        neighbours: dict[str, list[Neighbour]],
        database: ReferenceDatabase,
        config: BatchConfig,
        augmentation: AugmentConfig,
        model: CropperConfig,
        taught: TaughtViews | None = None,
    ) -> None:
        self.views = views
        self.neighbours = neighbours
        self.database = database
        self.config = config
        self.augmentation = augmentation
        self.k = model.k
        self.seed = views.seed
        self.taught = taught
        answer = model.answer
        self.typical = typical_crops(max(1, answer.typical), answer.fill, answer.kept)[: answer.typical]

    def make(self, indices: Sequence[int], epoch: int) -> Batch:
        """The batch of some samples in an epoch; each sample's draws are seeded by its key and the epoch."""
        views, lists, boxes, typical = [], [], [], []
        for index in indices:
            key = self.views.samples.keys[index]
            rng = np.random.default_rng(seed_for(self.seed, "batch", key, epoch))
            view = self.views.get(index, epoch % self.config.views, self.augmentation)
            views.append(view)
            lists.append(self._draw(self.neighbours.get(key, []), rng))
            boxes.append(sample_boxes(view.targets, self.config.roi, rng))
            typical.append(self.typical[rng.permutation(len(self.typical))[: self.config.typical]])
        return Batch(
            views,
            torch.tensor([view.aspect for view in views]),
            TargetBatch.of([view.targets for view in views], torch.device("cpu")),
            References.of(*pad_references(lists, self.database, least=1)),
            torch.tensor(np.stack(boxes)),
            torch.tensor(np.stack(typical)),
            text_of(views, [self._with_caption(self.views.samples.keys[index], epoch) for index in indices]),
            self._taught([self.views.samples.keys[index] for index in indices], epoch),
        )

    def _taught(self, keys: Sequence[str], epoch: int) -> TaughtBatch | None:
        """Scored photographs for some canvases, drawn by each canvas's key and the epoch."""
        if not self.taught:
            return None
        rows, columns = [], []
        for key in keys:
            rng = np.random.default_rng(seed_for(self.seed, "taught", key, epoch))
            if rng.random() < self.config.taught:
                rows.append(int(rng.integers(len(self.taught))))
                columns.append(rng.permutation(len(self.typical))[: self.config.typical])
        return self.taught.batch(rows, self.typical, np.stack(columns)) if rows else None

    def _with_caption(self, key: str, epoch: int) -> bool:
        """Whether a canvas is shown with its caption; as often without as it is without references."""
        return np.random.default_rng(seed_for(self.seed, "caption", key, epoch)).random() >= self.config.plain

    def _draw(self, neighbours: Sequence[Neighbour], rng: np.random.Generator) -> list[Neighbour]:
        """A varying number of references, so that the network serves any k, none included."""
        if rng.random() < self.config.plain:
            return []
        return [neighbour for neighbour in neighbours[: self.k] if rng.random() >= self.config.drop]


def text_of(views: Sequence[View], captioned: Sequence[bool] | None = None) -> Text | None:
    """Captions of views, empty where ``captioned`` is false; None for a model without text."""
    words = [view.words for view in views if view.words is not None]
    if len(words) < len(views):
        return None
    return pad_texts([row if captioned is None or captioned[i] else row[:0] for i, row in enumerate(words)])


def sample_boxes(
    targets: Targets, count: int, rng: np.random.Generator
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Boxes [count, 4] xyxy to teach the RoI head: the crops, jitters of them of growing strength, and random boxes.

    Of more crops than ``count`` a random choice, bad ones among them.
    """
    crops = targets.boxes.numpy()
    if len(crops) > count:
        crops = crops[np.sort(rng.choice(len(crops), count, replace=False))]
    chosen = crops[np.arange(count) % len(crops)].copy()  # [count, 4] cxcywh
    later = np.arange(count)[:, None] >= len(crops)
    strength = later * np.linspace(0, 0.5, count)[:, None]
    chosen[:, :2] += chosen[:, 2:] * rng.normal(0, 0.5, (count, 2)) * strength
    chosen[:, 2:] *= np.exp(rng.normal(0, 1.0, (count, 2)) * strength)
    random = rng.random((count, 4))
    random[:, 2:] = 0.25 + 0.75 * random[:, 2:]
    mixed = np.where(later & (rng.random((count, 1)) < 0.25), random, chosen)
    corners = np.concatenate([mixed[:, :2] - mixed[:, 2:] / 2, mixed[:, :2] + mixed[:, 2:] / 2], 1).clip(0, 1)
    corners[:, :2] = np.minimum(corners[:, :2], 1 - SMALLEST)
    corners[:, 2:] = np.maximum(corners[:, 2:], corners[:, :2] + SMALLEST)
    return corners.astype(np.float32)
