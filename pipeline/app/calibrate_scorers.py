"""``models --calibrate``: the scale of each member of an ensemble, and how far a cheap scorer agrees with the full one."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.app.session import Session, open_session
from pipeline.core.errors import UsageError
from pipeline.core.json_types import JsonObject

if TYPE_CHECKING:
    from stages.backends.base.picture import LazyPicture
    from stages.backends.base.protocols import Floats


@dataclass(frozen=True)
class CalibrationReport:
    """Result of a calibration.

    Args:
        canvases, crops: how many were scored.
        ensemble: each member's mean and deviation (``members``), and what else the calibration file holds; empty if the
            scorer is no ensemble.
        path: of the calibration file; empty if none was written.
        agreement: mean rank correlation of the cheap and the full scorer; None if the scorer has one pass only.
        pictures: that the agreement was computed on.
    """

    canvases: int
    crops: int
    ensemble: Mapping[str, Any]
    path: str
    agreement: float | None
    pictures: int

    def as_json(self) -> JsonObject:
        """The object of ``models --calibrate --json``."""
        return {
            "canvases": self.canvases, "crops": self.crops, "members": [], **self.ensemble, "path": self.path,
            "agreement": self.agreement, "pictures": self.pictures,
        }  # fmt: skip


def calibrate_scorers(config: str, work: str, overrides: Sequence[str], *, canvases: int) -> CalibrationReport:
    """Score proposals of up to ``canvases`` canvases of a run; writes the recipe's calibration file if its scorer has one.

    Raises UsageError if the run has no proposals yet, or the recipe's scorer needs no calibration.
    """
    from stages.backends.scorers.ensemble import EnsembleScorer
    from stages.backends.scorers.two_pass import PrescoredScorer

    session = open_session(config, work, overrides, start=False)
    scorer = session.recipe.models.scorer.build()
    full = scorer.full if isinstance(scorer, PrescoredScorer) else scorer
    if scorer is full and not isinstance(full, EnsembleScorer):
        raise UsageError(f"models.scorer '{scorer.name}' is on a scale of its own and needs no calibration")
    pictures, boxes = _sample(session, canvases)
    crops = sum(map(len, boxes))
    ensemble: Mapping[str, Any] = {}
    path = ""
    if isinstance(full, EnsembleScorer):
        ensemble = full.calibrate(pictures, boxes)
        body = {"canvases": len(pictures), "crops": crops, "members": [], "path": "", **ensemble}
        full.calibration.write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")
        path = str(Path(full.calibration))
    agreement, compared = None, 0
    if isinstance(scorer, PrescoredScorer):
        cheap, score = scorer.cheap.score(pictures, boxes), full.score(pictures, boxes)
        agreement, compared = scorer.compare(cheap, score)
    return CalibrationReport(len(pictures), crops, ensemble, path, agreement, compared)


def _sample(session: Session, canvases: int) -> "tuple[list[LazyPicture], list[Floats]]":
    """Up to ``canvases`` canvases with their proposed boxes [N, 4] in pixels, spread over all shards."""
    import numpy as np

    from stages.backends.base.picture import LazyPicture
    from stages.photos.decode import to_array

    tables = session.run.tables()
    pictures: list[LazyPicture] = []
    boxes: list[Floats] = []
    shards = tables.shards("propose")
    if not shards:
        raise UsageError("the run has no proposals: run 'procrop-data propose --with-upstream' first")
    for shard in shards:
        rows = tables.columns("propose", shard, ["boxes"]).to_pylist()[: -(-canvases // len(shards))]
        places = {
            row["key"]: row for row in tables.columns("outpaint", shard, ["image_offset", "image_size"]).to_pylist()
        }
        path = tables.path("outpaint", shard)
        for row in rows[: canvases - len(pictures)]:
            place = places[row["key"]]
            image = to_array(tables.read_range(path, place["image_offset"], place["image_size"]))
            pictures.append(LazyPicture.of(image))
            boxes.append(np.asarray(row["boxes"], np.float32).reshape(-1, 4))
    return pictures, boxes
