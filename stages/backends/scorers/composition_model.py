"""Weights of the composition scorer and their files: projection of encoder maps, ranking head, calibration.

Letters: N crops, F features, M members of the head.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from pipeline.core.errors import ModelError
from pipeline.core.json_types import JsonObject
from stages.backends.base.protocols import Floats
from stages.backends.scorers import subject_features as subject
from stages.backends.scorers.composition_features import Projection, border_width, encoder_features, pooled_width
from stages.backends.scorers.composition_files import VERSION, features_digest

_LEAST = 2e-4  # of p in ``log_odds``: a score of 0.001 or 9.999


def widths() -> tuple[int, int, int]:
    """How many features, in this order, are about borders, pooled, and about the subject."""
    return border_width(), pooled_width(), len(subject.COLUMNS)


class RankingHead(nn.Module):
    """Raw score [N] of features [N, F]: standardised, then one small hidden layer; the members are averaged.

    Args:
        hidden: width of the hidden layer.
        members: M, heads with weights of their own. F = sum(widths()).
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, hidden: int = 24, members: int = 5) -> None:
        super().__init__()
        width = sum(widths())
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))
        self.first = nn.Parameter(torch.randn(members, width, hidden) / width**0.5)
        self.bias = nn.Parameter(torch.zeros(members, 1, hidden))
        self.last = nn.Parameter(torch.randn(members, hidden, 1) / hidden**0.5)
        self.direct = nn.Parameter(torch.zeros(members, width, 1))

    def standardised(self, features: Tensor) -> Tensor:
        """Features [N, F] with mean 0 and deviation 1 over the training crops, clipped at 4 deviations."""
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
    """Raw score -> 0..10: five times the probability that the crop is better than a typical bad crop of its area, plus five
    times the probability that it is better than a typical professional frame of its area.

    So 2.5 to 3 is a typical bad crop, about 7.5 a professional's own frame, and the scale still tells crops beyond that frame
    apart, where the first probability alone is 1 to two digits. The raw score of a bad crop depends on its size; ``level``
    gives its mean as a polynomial of log(area share of the picture).

    Args:
        level: constant, linear and quadratic coefficient.
        scale: raw score that one unit of log-odds is.
        lead: log-odds of a typical professional frame against a typical bad crop of its area.
    """

    level: tuple[float, float, float]
    scale: float
    lead: float

    def apply(self, raw: subject.Array, boxes: subject.Array) -> subject.Array:
        """Scores [N] of raw scores [N] and ``boxes`` [N, 4], fractions of the picture."""
        size = log_area(boxes)
        expected = self.level[0] + self.level[1] * size + self.level[2] * size**2
        odds = (raw - expected) / self.scale
        return np.asarray(5 * _sigmoid(odds) + 5 * _sigmoid(odds - self.lead))

    def log_odds(self, scores: subject.Array) -> subject.Array:
        """The inverse of ``apply``: log-odds [N] against a typical bad crop, of scores [N] in 0..10, finite at the ends.

        With u = exp(odds), c = exp(-lead) and p = score / 5, the sum of the two sigmoids is a quadratic equation:
        c (2 - p) u^2 + (1 + c) (1 - p) u = p.
        """
        p = np.clip(np.asarray(scores, np.float64) / 5, _LEAST, 2 - _LEAST)
        c = np.exp(-self.lead)
        half = (1 + c) * (1 - p) / 2
        root = np.sqrt(half**2 + c * (2 - p) * p)
        u = np.where(half > 0, p / (half + root), (root - half) / (c * (2 - p)))  # no difference of near numbers
        return np.asarray(np.log(u))


def _sigmoid(odds: subject.Array) -> subject.Array:
    return np.asarray(1 / (1 + np.exp(np.clip(-odds, -60, 60))))


def log_area(boxes: subject.Array) -> subject.Array:
    """Log of the share of the picture that each box covers, at least 2 %."""
    return np.log(np.clip((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]), 0.02, 1.0))


@dataclass(frozen=True)
class ScorerModel:
    """What training produces: the projection of encoder maps, the head and its calibration."""

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
    def load(folder: Path, segmenter: str) -> "ScorerModel":
        """Read what ``save`` wrote; ModelError when it is missing, damaged or made for other features or masks."""
        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            content = (folder / "model.safetensors").read_bytes()
            _check(config, content, folder, segmenter)
            tensors = load(content)
            head = RankingHead(config["hidden"], config["members"])
            head.load_state_dict({name[5:]: value for name, value in tensors.items() if name.startswith("head.")})
            of = config["calibration"]
            calibration = Calibration(tuple(of["level"]), of["scale"], of["lead"])
            projection = Projection.from_tensors(tensors)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            raise ModelError(f"scorer in {folder} does not load ({error}): run procrop-data train-scorer") from error
        return ScorerModel(projection, head.double().eval(), calibration)


def _check(config: JsonObject, content: bytes, folder: Path, segmenter: str) -> None:
    if hashlib.sha256(content).hexdigest()[:16] != config["weights"]:
        raise ModelError(f"scorer weights in {folder} are damaged: sha256 differs from config.json; restore them")
    here = {
        "version": VERSION,
        "features": features_digest(),
        "subject_features": subject.VERSION,
        "segmenter": segmenter,
    }
    for name, value in here.items():
        if config[name] != value:
            raise ModelError(
                f"scorer in {folder} was trained with {name} {config[name]} and this is {value}: "
                "run procrop-data train-scorer"
            )


def crop_features(projected: Sequence[Tensor], mask: Floats, boxes: subject.Array, size: tuple[int, int]) -> Tensor:
    """Features [N, F], float64, of boxes in a picture.

    Args:
        projected: maps of the picture, as ``project`` gives them.
        mask: of its subject [h, w] in 0..1, at any resolution.
        boxes: [N, 4], fractions of the picture.
        size: (width, height) of the picture.
    """
    encoded = encoder_features(projected, torch.from_numpy(boxes))
    return torch.cat([encoded, torch.from_numpy(subject.subject_features(mask, boxes, size))], 1)
