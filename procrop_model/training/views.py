"""Training samples as the network takes them: a fixed number of augmented views a canvas, their backbone features kept.

A frozen backbone gives the same features each time, so each view is computed once, image by image, and rounded to fp16:
whether a view was cached or computed again after a restart, the training sees the same numbers.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from pipeline.core.seeds import seed_for
from procrop_model.network.backbone import Extractor, Levels
from procrop_model.network.boxes import xyxy_to_cxcywh
from procrop_model.network.config import CropperConfig
from procrop_model.network.preprocess import prepare
from procrop_model.network.text import embedded_text
from procrop_model.training.augment import Annotated, AugmentConfig, augment
from procrop_model.training.samples import Samples
from procrop_model.training.targets import TargetConfig, Targets

# Beyond it, what was made first stays: an epoch goes through all views, so making room would keep none until it is needed.
KEPT_BYTES = 8 << 30


@dataclass(frozen=True)
class View:
    """One canvas, ready: its input [3, h, w], or its backbone levels when the backbone is frozen; its aspect and
    targets; with a text encoder the tokens of its caption [T, C].
    """

    image: Tensor | None
    levels: Levels | None
    aspect: float
    targets: Targets
    words: Tensor | None = None

    @property
    def cells(self) -> int:
        """Cells of 16 pixels a side: those of the map of ``procrop``. The input's sides are multiples of 32."""
        shape = self.image.shape if self.image is not None else (self.levels or ())[-1].shape
        return int(shape[-2] * shape[-1]) // 256 if self.image is not None else 4 * int(shape[-2] * shape[-1])


class Views:
    """Views of samples, made on first use. Features are kept up to ``kept_bytes``; the rest is made again each time."""

    def __init__(
        self,
        *,
        samples: Samples,
        config: CropperConfig,
        extractor: Extractor,
        seed: int,
        kept_bytes: int = KEPT_BYTES,
        targets: TargetConfig | None = None,
    ) -> None:
        self.samples = samples
        self.config = config
        self.extractor = extractor
        self.seed = seed
        self.texts = embedded_text(config.text_dim)
        self._targets = targets or TargetConfig()
        self._made: dict[tuple[int, int], View] = {}
        self._room = kept_bytes

    def get(self, index: int, number: int, augmentation: AugmentConfig | None) -> View:
        """View ``number`` of sample ``index``; with no augmentation the canvas as it is."""
        view = self._made.get((index, number))
        if view is None:
            view = self.with_features(self.drawn(index, number, augmentation))
            self.keep(index, number, view)
        return view

    def has(self, index: int, number: int) -> bool:
        """Whether the features of a view are kept."""
        return (index, number) in self._made

    def drawn(self, index: int, number: int, augmentation: AugmentConfig | None) -> View:
        """The view as the backbone's input: decoded, augmented and resized. Thread-safe."""
        sample = self.samples[index]
        annotated = sample.decode()
        if augmentation is not None:
            seed = seed_for(self.seed, "augment", sample.key, number)
            annotated = augment(annotated, augmentation, np.random.default_rng(seed), judged=sample.annotated)
        targets = targets_of(annotated, self._targets if sample.annotated else None)
        words = None if self.texts is None else self.texts.encode(sample.prompt)
        aspect = annotated.image.shape[1] / annotated.image.shape[0]
        return View(prepare(annotated.image, self.config), None, aspect, targets, words)

    def with_features(self, view: View) -> View:
        """The same after a frozen backbone; as it is for one that learns."""
        if self.config.train_backbone or view.image is None:
            return view
        device = next(self.extractor.parameters()).device
        with torch.no_grad():
            (levels,) = self.extractor.levels([view.image.to(device)])
        return replace(view, image=None, levels=tuple(level.half().cpu() for level in levels))

    def keep(self, index: int, number: int, view: View) -> None:
        """Keeps the features of a view, while there is room."""
        size = sum(level.nbytes for level in view.levels or ())
        if view.levels is not None and size <= self._room:
            self._made[index, number] = view
            self._room -= size


def targets_of(sample: Annotated, human: TargetConfig | None = None) -> Targets:
    """Crops in pixels -> normalised cxcywh, scores 0..10 -> quality 0..1. human: for crops that people judged, best first."""
    height, width = sample.image.shape[:2]
    boxes = torch.tensor(sample.crops) / torch.tensor([width, height, width, height])
    boxes = xyxy_to_cxcywh(boxes.float().clamp(0, 1))
    quality = torch.tensor(sample.scores).float().div(10).clamp(0, 1)
    if human is None:
        return Targets(boxes, quality)
    good = int((sample.scores >= human.least_score).sum())
    return Targets(boxes, quality, human=True, wanted=max(1, min(good, human.most)))
