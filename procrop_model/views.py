"""Training samples as the network takes them: a fixed number of augmented views a canvas, their backbone features kept.

A frozen backbone gives the same features each time, so each view is computed once, image by image, and rounded to fp16:
whether a view was cached or computed again after a restart, the training sees the same numbers.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from pipeline.seeds import seed_for
from procrop_model.augment import Annotated, AugmentConfig, augment
from procrop_model.backbone import Extractor, Levels
from procrop_model.boxes import xyxy_to_cxcywh
from procrop_model.config import CropperConfig
from procrop_model.data import CanvasSample, CanvasSet
from procrop_model.preprocess import prepare
from procrop_model.targets import Targets
from procrop_model.text import TextEncoder

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


class Views:
    """Views of samples, made on first use. Features are kept up to ``kept_bytes``; the rest is made again each time."""

    def __init__(
        self,
        *,
        samples: CanvasSet,
        config: CropperConfig,
        extractor: Extractor,
        seed: int,
        kept_bytes: int = KEPT_BYTES,
        texts: TextEncoder | None = None,
    ) -> None:
        self.samples = samples
        self.config = config
        self.extractor = extractor
        self.seed = seed
        self.texts = texts
        self._made: dict[tuple[int, int], View] = {}
        self._room = kept_bytes

    def get(self, index: int, number: int, augmentation: AugmentConfig | None) -> View:
        """View ``number`` of sample ``index``; with no augmentation the canvas as it is."""
        found = self._made.get((index, number))
        if found is not None:
            return found
        made = self._make(self.samples[index], number, augmentation)
        size = sum(level.nbytes for level in made.levels or ())
        if made.levels is not None and size <= self._room:
            self._made[index, number] = made
            self._room -= size
        return made

    def _make(self, sample: CanvasSample, number: int, augmentation: AugmentConfig | None) -> View:
        annotated = sample.decode()
        if augmentation is not None:
            seed = seed_for(self.seed, "augment", sample.key, number)
            annotated = augment(annotated, augmentation, np.random.default_rng(seed))
        image = prepare(annotated.image, self.config)
        words = None if self.texts is None else self.texts.encode(sample.prompt)
        view = View(image, None, annotated.image.shape[1] / annotated.image.shape[0], targets_of(annotated), words)
        if self.config.train_backbone:
            return view
        device = next(self.extractor.parameters()).device
        with torch.no_grad():
            (levels,) = self.extractor.levels([image.to(device)])
        return replace(view, image=None, levels=tuple(level.half().cpu() for level in levels))


def targets_of(sample: Annotated) -> Targets:
    """Crops in pixels -> normalised cxcywh, scores 0..10 -> quality 0..1."""
    height, width = sample.image.shape[:2]
    boxes = torch.tensor(sample.crops) / torch.tensor([width, height, width, height])
    return Targets(xyxy_to_cxcywh(boxes.float().clamp(0, 1)), torch.tensor(sample.scores).float().div(10).clamp(0, 1))
