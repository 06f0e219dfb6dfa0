"""The embedded scorer: how well a crop is composed, from one encoder pass a picture, RoIAlign and the subject's mask.

A ranking head over ``scorer_features`` and ``subject_features``; ``stages.train_scorer`` fits it on size-matched pairs.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from pipeline.errors import ModelError
from pipeline.resources import bundled
from procrop_model.lite0 import file_digest
from stages.backends import subject_features as subject
from stages.backends.protocols import Floats, Image, Segmenter
from stages.backends.scorer_features import (
    Projection,
    encoder_features,
    encoder_width,
    feature_maps,
    features_digest,
    load_backbone,
)
from stages.backends.u2net import U2NetSegmenter

VERSION = 1
_DECIMALS = 4  # a matrix product over one box or a hundred differs in the last bits of float64; scores must not


class RankingHead(nn.Module):
    """Raw score [N] of features [N, F]: standardised, then one small hidden layer; several members are averaged.

    F = encoder_width() + len(subject.COLUMNS), encoder features first.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, hidden: int = 24, members: int = 5) -> None:
        super().__init__()
        width = encoder_width() + len(subject.COLUMNS)
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))
        self.first = nn.Parameter(torch.randn(members, width, hidden) / width**0.5)
        self.bias = nn.Parameter(torch.zeros(members, 1, hidden))
        self.last = nn.Parameter(torch.randn(members, hidden, 1) / hidden**0.5)
        self.direct = nn.Parameter(torch.zeros(members, width, 1))

    def standardised(self, features: Tensor) -> Tensor:
        """Features [N, F] with mean 0 and deviation 1 over the training crops, cut at 4 deviations."""
        return ((features - self.mean) / self.deviation).clamp(-4, 4)

    def members(self, inputs: Tensor) -> Tensor:
        """Raw scores [M, N] of each member from standardised inputs [M, N, F] or [N, F]."""
        hidden = nn.functional.gelu(inputs @ self.first + self.bias)  # [M, N, hidden]
        return (hidden @ self.last + inputs @ self.direct)[..., 0]

    def forward(self, features: Tensor) -> Tensor:
        """Mean raw score [N] of features [N, F]."""
        return self.members(self.standardised(features)).mean(0)


@dataclass(frozen=True)
class Calibration:
    """Raw score -> 0..10, where 5 means even odds against a typical bad crop of the same area.

    The raw score of a bad crop depends on its size; ``level`` (constant, linear, quadratic) gives its mean over
    log(area share of the picture), and ``scale`` its units in log-odds.
    """

    level: tuple[float, float, float]
    scale: float

    def apply(self, raw: np.ndarray[Any, Any], boxes: subject.Array) -> subject.Array:
        """Scores [N] of raw scores [N] and ``boxes`` [N, 4], fractions of the picture."""
        size = log_area(boxes)
        expected = self.level[0] + self.level[1] * size + self.level[2] * size**2
        return np.asarray(10 / (1 + np.exp(np.clip((expected - raw) / self.scale, -60, 60))))


def log_area(boxes: subject.Array) -> subject.Array:
    """log of the share of the picture that each box covers, from below limited to 2 %."""
    return np.log(np.clip((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]), 0.02, 1.0))


@dataclass(frozen=True)
class ScorerModel:
    """All that training produces: the projection of encoder maps, the head and its calibration."""

    projection: Projection
    head: RankingHead
    calibration: Calibration

    def save(self, folder: Path, segmenter: str) -> str:
        """Write ``model.safetensors`` and ``config.json``; returns the digest of the weights."""
        tensors = {f"head.{name}": value.float() for name, value in self.head.state_dict().items()}
        content = save({**tensors, **self.projection.tensors()}, metadata={"format": "pt"})
        digest = hashlib.sha256(content).hexdigest()[:16]
        config = {
            "architecture": "composition-scorer",
            "version": VERSION,
            "features": features_digest(),
            "subject_features": subject.VERSION,
            "segmenter": segmenter,
            "hidden": self.head.first.shape[2],
            "members": self.head.first.shape[0],
            "calibration": asdict(self.calibration),
            "weights": digest,
        }
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.safetensors").write_bytes(content)
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        return digest

    @staticmethod
    def load(folder: Path) -> "ScorerModel":
        """Read what ``save`` wrote; raises ModelError when it is missing, damaged or made for other features."""
        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            content = (folder / "model.safetensors").read_bytes()
            _check(config, content, folder)
            tensors = load(content)
            head = RankingHead(config["hidden"], config["members"])
            head.load_state_dict({name[5:]: value for name, value in tensors.items() if name.startswith("head.")})
            level, scale = config["calibration"]["level"], config["calibration"]["scale"]
            projection = Projection.from_tensors(tensors)
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise ModelError(f"scorer in {folder} does not load ({error}): run procrop-data train-scorer") from error
        return ScorerModel(projection, head.double().eval(), Calibration(tuple(level), scale))


def _check(config: dict[str, Any], content: bytes, folder: Path) -> None:
    if hashlib.sha256(content).hexdigest()[:16] != config["weights"]:
        raise ModelError(f"scorer weights in {folder} are damaged: sha256 differs from config.json; restore them")
    made_for = (config["version"], config["features"], config["subject_features"])
    if made_for != (VERSION, features_digest(), subject.VERSION):
        raise ModelError(
            f"scorer in {folder} was trained on features {config['features']} and this is {features_digest()}: "
            "run procrop-data train-scorer"
        )


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

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_model": None, "_backbone": None}

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
        masks = self.segmenter.segment(images)
        return [self._score(*each) for each in zip(images, masks, boxes, strict=True)]

    def _score(self, image: Image, mask: Floats, boxes: Floats) -> Floats:
        if len(boxes) == 0:
            return np.empty(0, np.float32)
        if self._model is None or self._backbone is None:
            self._model, self._backbone = ScorerModel.load(self.folder), load_backbone()
        height, width = image.shape[:2]
        share = np.asarray(boxes, np.float64) / np.array([width, height, width, height])
        maps = feature_maps(self._backbone, image)
        with torch.inference_mode():
            features = crop_features(maps, mask, share, self._model.projection)
            raw = self._model.head(features).numpy()
        return np.round(self._model.calibration.apply(raw, share), _DECIMALS).astype(np.float32)


def crop_features(maps: Sequence[Tensor], mask: Floats, boxes: subject.Array, projection: Projection) -> Tensor:
    """Features [N, F], float64, of ``boxes`` [N, 4] (fractions) from encoder ``maps`` and subject ``mask``."""
    seen = encoder_features(maps, projection, torch.from_numpy(boxes)).double()
    return torch.cat([seen, torch.from_numpy(subject.subject_features(mask, boxes))], 1)
