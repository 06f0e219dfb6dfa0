"""Inference with the composition scorer: one encoder pass and one mask a picture serve all its boxes, in all rounds."""

import hashlib
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.core.resources import file_digest
from stages.backends.base.picture import LazyPicture, Maps, MaskGrid, mask_grid, soft_mask
from stages.backends.base.protocols import Floats, Image, Segmenter
from stages.backends.scorers.composition_features import LEVELS, feature_maps, load_encoder_levels, project
from stages.backends.scorers.composition_model import ScorerModel, crop_features

_REMEMBERED = 256  # pictures scored as plain pixels, some 60 KB each: a training's evaluation scores them several times
_DECIMALS = 4  # a matrix product over one box or a hundred differs in the last bits of float64; scores must not
_MASK = (
    "mask"  # of the scorer's own segmenter, where the recipe has another one: fp16 [1, S, S] of whole numbers 0..255
)


class ScorerEngine:
    """Loaded weights, the encoder where pixels come in, and the last few such pictures.

    Raises ModelError when the weights in ``folder`` do not load.
    """

    def __init__(self, folder: Path, segmenter: Segmenter) -> None:
        self._segmenter = segmenter
        self._model = ScorerModel.load(folder, segmenter.digest)
        # Maps of a scorer with another projection are useless to this one, so a name holds the digest of the weights.
        weights = file_digest(str(folder / "model.safetensors"))[:8]
        self._names = [f"level{level}-{weights}" for level in LEVELS]
        self._backbone: torch.nn.Module | None = None
        self._pictures: OrderedDict[bytes, Maps] = OrderedDict()

    def score(self, picture: LazyPicture, boxes: Floats) -> Floats:
        """Scores [N] of ``boxes`` [N, 4], pixels of the picture."""
        if len(boxes) == 0:
            return np.empty(0, np.float32)
        width, height = picture.size
        share = np.asarray(boxes, np.float64) / np.array([width, height, width, height])
        maps = picture.maps if self._names[0] in picture.maps else self._remembered(picture.image)
        own = maps[_MASK][0] if _MASK in maps else picture.mask
        if own is None:
            raise ValueError("a picture with maps of the composition scorer has no mask")
        mask = soft_mask(own)
        with torch.inference_mode():
            features = crop_features([_with_content(maps[name]) for name in self._names], mask, share, picture.size)
            raw = self._model.head(features).numpy()
        return np.round(self._model.calibration.apply(raw, share), _DECIMALS).astype(np.float32)

    def perceive(self, image: Image, mask: MaskGrid | None) -> dict[str, NDArray[np.float16]]:
        """Projected encoder maps [K, h, w] by name; for a ``mask`` of None, the mask of the scorer's own segmenter, too."""
        if self._backbone is None:
            self._backbone = load_encoder_levels()
        projected = project(feature_maps(self._backbone, image), self._model.projection)
        maps = {name: level[:-1].half().numpy() for name, level in zip(self._names, projected, strict=True)}
        if mask is None:
            maps[_MASK] = mask_grid(self._segmenter.network_masks([image])[0])[None].astype(np.float16)
        return maps

    def _remembered(self, image: Image) -> Maps:
        """What is perceived of a picture without maps."""
        key = hashlib.sha256(repr(image.shape).encode() + image.tobytes()).digest()
        if key not in self._pictures:
            self._pictures[key] = self.perceive(image, None)
        self._pictures.move_to_end(key)
        while len(self._pictures) > _REMEMBERED:
            self._pictures.popitem(last=False)
        return self._pictures[key]


def _with_content(level: NDArray[np.float16]) -> Tensor:
    """float32 [K + 1, h, w] with the last channel of ones that ``project`` adds."""
    maps = torch.from_numpy(level.astype(np.float32))
    return torch.cat([maps, torch.ones(1, *maps.shape[1:])])
