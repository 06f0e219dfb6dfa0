"""Several scorers as one: each brought to the same scale by a sample of the run's own canvases, then averaged by weight."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, TypedDict

import numpy as np
from pydantic import Field, SerializeAsAny

from pipeline.core.errors import ModelError
from pipeline.core.seeds import digest_of
from stages.backends.base.backend_settings import BackendSettings
from stages.backends.base.picture import LazyPicture, Maps, MaskGrid
from stages.backends.base.plugin_models import pluggable
from stages.backends.base.protocols import Floats, Image, Scorer
from stages.backends.scorers.aesthetic import AestheticSettings
from stages.backends.scorers.composition import CompositionScorer, CompositionScorerSettings
from stages.backends.scorers.perceiving import maps_digest, perceive_all
from stages.backends.scorers.two_pass import PrescoredScorer

CODE_VERSION = 1  # raised whenever the same members give other scores
MIDDLE, SPREAD = 5.0, 2.0  # mean and deviation of the common scale: two deviations either way are 1 and 9


class EnsembleSettings(BackendSettings):
    """Several scorers as one.

    Args:
        members: the scorers.
        weights: one a member; all 1 when left out.
        calibration: the JSON file with each member's mean and deviation, which ``procrop-data models --calibrate`` writes.
        keep: only so many crops of each image are scored by the members, as for a single scorer; 0 for all.
    """

    kind: Literal["ensemble"]
    members: tuple[
        Annotated[
            SerializeAsAny[AestheticSettings | CompositionScorerSettings],
            Field(discriminator="kind"),
            pluggable("scorer"),
        ],
        ...,
    ] = Field(min_length=1)
    weights: tuple[Annotated[float, Field(gt=0)], ...] = ()
    calibration: str = "calibration.json"
    keep: int = Field(0, ge=0)

    @property
    def runs_on(self) -> str:
        """The device of the first member that uses a GPU."""
        return next((member.runs_on for member in self.members if member.uses_gpu), "cpu")

    def build(self) -> Scorer:
        """The backend; nothing is loaded yet."""
        if self.weights and len(self.weights) != len(self.members):
            raise ModelError(f"models.scorer has {len(self.members)} members and {len(self.weights)} weights")
        weights = self.weights or (1.0,) * len(self.members)
        scorer = EnsembleScorer([member.build() for member in self.members], weights, Path(self.calibration))
        return PrescoredScorer(scorer, CompositionScorer(), self.keep) if self.keep else scorer


class MemberScale(TypedDict):
    """Mean and deviation of a member's scores over the sample."""

    name: str
    digest: str
    mean: float
    deviation: float


class EnsembleScale(TypedDict):
    """The calibration file. canvases, crops: size of the sample."""

    canvases: int
    crops: int
    members: list[MemberScale]


class EnsembleScorer:
    """Implements ``Scorer``: 5 + 2 times the weighted mean of the members' z-values, clipped to 0..10.

    Args:
        members: the scorers.
        weights: one a member.
        calibration: the file with each member's mean and deviation; read at the first score.
    """

    def __init__(self, members: Sequence[Scorer], weights: Sequence[float], calibration: Path) -> None:
        self.members, self.weights, self.calibration = list(members), list(weights), calibration
        self.name = "ensemble of " + ", ".join(member.name for member in members)
        self.licence = "; ".join(dict.fromkeys(member.licence for member in members))

    @property
    def digest(self) -> str:
        """Of members, weights and calibration; it changes when the ensemble is calibrated."""
        known = self._read() if self.calibration.is_file() else []
        return digest_of([CODE_VERSION, [m.digest for m in self.members], self.weights, known])[:16]

    def digest_of_maps(self) -> str:
        """Of all members' maps; empty when none has any."""
        return maps_digest(self._by_prefix)

    def perceive(self, images: Sequence[Image], masks: Sequence[MaskGrid], segmenter: str) -> list[Maps]:
        """The maps of all members, one mapping an image."""
        return perceive_all(self._by_prefix, images, masks, segmenter)

    @property
    def _by_prefix(self) -> dict[str, Scorer]:
        return {f"{number}/": member for number, member in enumerate(self.members)}

    def _raw(self, pictures: Sequence[LazyPicture], boxes: Sequence[Floats]) -> list[list[Floats]]:
        """Each member's own scores."""
        return [
            member.score([picture.part(prefix) for picture in pictures], boxes)
            for prefix, member in self._by_prefix.items()
        ]

    def score(self, pictures: Sequence[LazyPicture], boxes: Sequence[Floats]) -> list[Floats]:
        """Scores [N] of the ``boxes`` [N, 4] of each picture; ModelError before the members are calibrated."""
        scales = self._read()
        share = np.asarray(self.weights) / sum(self.weights)
        out = [np.zeros(len(own)) for own in boxes]
        for raw, weight, (mean, deviation) in zip(self._raw(pictures, boxes), share, scales, strict=True):
            for total, scores in zip(out, raw, strict=True):
                total += weight * (scores.astype(np.float64) - mean) / deviation
        return [np.clip(MIDDLE + SPREAD * total, 0, 10).round(4).astype(np.float32) for total in out]

    def calibrate(self, pictures: Sequence[LazyPicture], boxes: Sequence[Floats]) -> EnsembleScale:
        """The content of the calibration file: each member's mean and deviation over a sample. ModelError for a constant member."""
        raw = [np.concatenate(scores) for scores in self._raw(pictures, boxes)]
        scales: list[MemberScale] = [
            {
                "name": m.name,
                "digest": m.digest,
                "mean": round(float(r.mean()), 6),
                "deviation": round(float(r.std()), 6),
            }
            for m, r in zip(self.members, raw, strict=True)
        ]
        constant = [scale["name"] for scale in scales if scale["deviation"] <= 0]
        if constant:
            raise ModelError(
                f"{constant[0]} gives every crop of the sample the same score: it cannot be part of an ensemble"
            )
        return {"canvases": len(pictures), "crops": len(raw[0]), "members": scales}

    def _read(self) -> list[tuple[float, float]]:
        try:
            body = json.loads(self.calibration.read_text(encoding="utf-8"))
            scales = {entry["digest"]: (float(entry["mean"]), float(entry["deviation"])) for entry in body["members"]}
            return [scales[member.digest] for member in self.members]
        except FileNotFoundError as error:
            raise ModelError(
                f"the ensemble is not calibrated: no '{self.calibration}'; make it with 'procrop-data models --calibrate'"
            ) from error
        except (ValueError, TypeError, KeyError) as error:
            raise ModelError(
                f"'{self.calibration}' is not of these scorers ({error!r}): 'procrop-data models --calibrate' makes it anew"
            ) from error
