"""``models --calibrate``: the scale of each member of an ensemble, and how far a cheap choice agrees with the score."""

import json as text
from pathlib import Path
from typing import Any

from pipeline.app.session import open_session
from pipeline.core.errors import UsageError


def calibrate(overrides: list[str], config: str, work: str, canvases: int) -> dict[str, Any]:
    """Score proposals of up to ``canvases`` canvases of a run; writes the recipe's calibration file when its scorer has one.

    Raises UsageError when the run has no proposals yet, or the recipe's scorer needs no calibration.
    """
    from stages.backends.scorers.ensemble import EnsembleScorer
    from stages.backends.scorers.two_pass import PrescoredScorer

    session = open_session(config, work, overrides, start=False)
    scorer: Any = session.recipe.models.scorer.build()
    full = scorer.full if isinstance(scorer, PrescoredScorer) else scorer
    if scorer is full and not isinstance(full, EnsembleScorer):
        raise UsageError(f"models.scorer '{scorer.name}' is on a scale of its own and needs no calibration")
    images, boxes = _sample(session, canvases)
    told: dict[str, Any] = {"canvases": len(images), "crops": sum(map(len, boxes)), "members": [], "path": ""}
    if isinstance(full, EnsembleScorer):
        told |= full.calibrate(images, boxes)
        full.calibration.write_text(text.dumps(told, indent=1) + "\n", encoding="utf-8")
        told["path"] = str(Path(full.calibration))
    told["agreement"], told["pictures"] = None, 0
    if isinstance(scorer, PrescoredScorer):
        cheap, score = scorer.cheap.score(images, boxes), full.score(images, boxes)
        told["agreement"], told["pictures"] = scorer.compare(cheap, score)
    return told


def _sample(session: Any, canvases: int) -> tuple[list[Any], list[Any]]:
    import numpy as np

    from stages.photos.decode import to_array

    tables = session.run.tables()
    images: list[Any] = []
    boxes: list[Any] = []
    shards = tables.shards("propose")
    if not shards:
        raise UsageError("no proposals to look at: run 'procrop-data propose --with-upstream' first")
    for shard in shards:  # a few of each, so that the sample is spread over the run
        rows = tables.rows("propose", shard, ["boxes"])[: -(-canvases // len(shards))]
        where = {row["key"]: row for row in tables.rows("outpaint", shard, ["image_offset", "image_size"])}
        path = tables.path("outpaint", shard)
        for row in rows[: canvases - len(images)]:
            place = where[row["key"]]
            images.append(to_array(tables.read_range(path, place["image_offset"], place["image_size"])))
            boxes.append(np.asarray(row["boxes"], np.float32).reshape(-1, 4))
    return images, boxes
