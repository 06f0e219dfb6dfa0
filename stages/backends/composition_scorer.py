"""The embedded scorer: how well a crop is composed, from one encoder pass a picture, RoIAlign and the subject's mask.

The head over ``scorer_features`` and ``subject_features`` is fitted by ``stages.train_scorer`` on size-matched pairs.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.errors import ModelError
from pipeline.resources import bundled
from procrop_model.lite0 import file_digest
from stages.backends.protocols import Floats, Image, Segmenter
from stages.backends.scorer_features import feature_maps, features_digest, load_backbone
from stages.backends.scorer_model import VERSION, ScorerModel, crop_features
from stages.backends.u2net import U2NetSegmenter

_REMEMBERED = 16
_DECIMALS = 4  # a matrix product over one box or a hundred differs in the last bits of float64; scores must not


class CompositionScorer:
    """Scores 0..10 for any number of crops of a picture; 5 means even odds against a bad crop of the same area.

    Each picture is run alone, so its scores do not depend on its batch. ``segmenter`` is built by default.
    """

    name = "composition-scorer"
    licence = "Apache-2.0"

    def __init__(self, folder: Path | None = None, segmenter: Segmenter | None = None) -> None:
        self.folder = folder or bundled("assets") / "models" / "scorer"
        self.segmenter = segmenter or U2NetSegmenter()
        self._model: ScorerModel | None = None
        self._backbone: nn.Module | None = None
        self._pictures: OrderedDict[bytes, tuple[list[Tensor], Floats]] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_model": None, "_backbone": None, "_pictures": OrderedDict()}

    @property
    def digest(self) -> str:
        """Digest of weights, calibration, features, segmenter and code version; ModelError without weights."""
        try:
            files = [file_digest(str(self.folder / name)) for name in ("model.safetensors", "config.json")]
        except OSError as error:
            raise ModelError(f"no scorer in {self.folder}: run procrop-data train-scorer") from error
        own = hashlib.sha256("".join([*files, features_digest(), self.segmenter.digest]).encode()).hexdigest()[:16]
        return f"composition-scorer-v{VERSION}-{own}"

    def score(self, images: Sequence[Image], boxes: Sequence[Floats]) -> list[Floats]:
        """Scores [N] of the ``boxes`` [N, 4], pixels, of each uint8 image [H, W, 3]; ModelError if none load."""
        return [self._score(image, each) for image, each in zip(images, boxes, strict=True)]

    def _score(self, image: Image, boxes: Floats) -> Floats:
        if len(boxes) == 0:
            return np.empty(0, np.float32)
        if self._model is None:
            self._model = ScorerModel.load(self.folder, self.segmenter.digest)
        height, width = image.shape[:2]
        share = np.asarray(boxes, np.float64) / np.array([width, height, width, height])
        maps, mask = self._look(image)
        with torch.inference_mode():
            features = crop_features(maps, mask, share, self._model.projection)
            raw = self._model.head(features).numpy()
        return np.round(self._model.calibration.apply(raw, share), _DECIMALS).astype(np.float32)

    def _look(self, image: Image) -> tuple[list[Tensor], Floats]:
        """Encoder maps and mask; the last few pictures are remembered, as refinement asks for each more than once."""
        key = hashlib.sha256(repr(image.shape).encode() + image.tobytes()).digest()
        if key not in self._pictures:
            if self._backbone is None:
                self._backbone = load_backbone()
            (mask,) = self.segmenter.segment([image])
            self._pictures[key] = (feature_maps(self._backbone, image), mask)
        self._pictures.move_to_end(key)
        while len(self._pictures) > _REMEMBERED:
            self._pictures.popitem(last=False)
        return self._pictures[key]
