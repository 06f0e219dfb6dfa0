"""``audit``: whether probes can tell paint from photograph, and fair limits for the checks of painted canvases."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.app.session import open_existing
from pipeline.core.errors import UsageError

if TYPE_CHECKING:
    from stages.canvases.seam_treatment import SeamSettings

SEAM_RESULT, PAINT_RESULT = "report/seam.json", "report/paint.json"
# The treatments of --compare, for canvases made with none; docs/seam.md has their figures.
COMPARED = (
    "match=0.5",
    "noise=3",
    "match=0.5 noise=2",
    "match=0.3 noise=3",
    "match=0.5 noise=3",
    "match=0.7 noise=3",
    "match=0.5 noise=5",
    "match=0.7 noise=6",
    "match=0.5 noise=3 jpeg_quality=85",
)


@dataclass(frozen=True)
class SeamAuditRequest:
    """How a run's canvases are probed.

    Args:
        work: run directory.
        treat: further treatments to audit, each in the form ``match=0.5 noise=3``.
        compare: audit each of a fixed list of treatments, too.
        canvases: canvases to read, at most.
        patch: side of a patch in pixels; 0: 16, or 32 on canvases of 384 pixels and more.
        folds: parts of the photographs, each judged by probes trained on the others.
        seed: of patches, folds, networks and intervals.
        network: whether a CNN is trained, too.
    """

    work: str = "work"
    treat: Sequence[str] = ()
    compare: bool = False
    canvases: int = 400
    patch: int = 0
    folds: int = 5
    seed: int = 0
    network: bool = True


@dataclass(frozen=True)
class PaintAuditRequest:
    """How limits are calibrated.

    Args:
        work: run directory.
        share: of unpainted surroundings that may fail a calibrated limit, in 0..0.5.
        canvases: canvases to read, at most.
        seed: of the windows that unpainted surroundings are taken from.
    """

    work: str = "work"
    share: float = 0.01
    canvases: int = 400
    seed: int = 0


def audit_seam(request: SeamAuditRequest, report_progress: Callable[[str], None]) -> Mapping[str, Any]:
    """The result of the seam audit, which is also written to ``report/seam.json``.

    Raises UsageError for a treatment that cannot be applied to finished canvases, MissingUpstreamError without canvases.
    """
    session = open_existing(request.work)
    import torch

    from stages.audits.seam.run import AuditSettings, audit

    torch.set_num_threads(1)  # the same seed gives the same figures, whatever the number of cores
    settings = AuditSettings(
        side=request.patch, folds=request.folds, canvases=request.canvases, seed=request.seed, network=request.network
    )
    treatments = [parse_treatment(words) for words in (*(COMPARED if request.compare else ()), *request.treat)]
    figures = audit(session.run.tables(), settings, treatments, report_progress)
    result = {"work": request.work, **figures}
    session.run.store.write(SEAM_RESULT, json.dumps(result, indent=1).encode())
    return result


def audit_paint(request: PaintAuditRequest) -> Mapping[str, Any]:
    """The calibrated limits of the paint checks, which are also written to ``report/paint.json``."""
    from stages.audits.paint import Frames, calibrate_paint_checks
    from stages.audits.subject import calibrate_own_subject
    from stages.backends.registry import models_of

    session = open_existing(request.work)
    recipe, tables = session.recipe, session.run.tables()
    frames = Frames(request.share, request.canvases, request.seed)
    limits = calibrate_paint_checks(tables, recipe.outpaint.checks, frames)
    own = calibrate_own_subject(tables, models_of(recipe.models).segmenter, recipe.filter.min_own_subject, frames)
    measures = {**limits["measures"], **({"own_subject": own} if own else {})}
    result = {"work": request.work, **limits, "measures": measures}
    session.run.store.write(PAINT_RESULT, json.dumps(result, indent=1).encode())
    return result


def parse_treatment(words: str) -> "SeamSettings":
    """Seam settings from ``key=value`` words. Raises UsageError, also for settings that need the canvases painted again."""
    from pydantic import ValidationError

    from pipeline.planning.recipe_errors import mistake_text
    from stages.canvases.seam_treatment import UNTREATED, SeamSettings

    pairs = dict(word.partition("=")[::2] for word in words.split())
    for name in ("scale", "keep", "feather_px"):
        if name in pairs:
            raise UsageError(
                f"--treat {name}={pairs[name]} needs the canvases painted again: "
                f"make a run with outpaint.seam.{name}={pairs[name]} and audit that"
            )
    try:
        return SeamSettings.model_validate({**UNTREATED.model_dump(), **pairs})
    except ValidationError as error:
        raise UsageError(f"--treat '{words}': {mistake_text(SeamSettings, error)}") from error
