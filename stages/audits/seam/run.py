"""The seam audit: probes on canvases, treatments and controls, each as an AUC with a bootstrap interval by photo."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import UsageError
from pipeline.core.stage import Tables
from stages.audits.seam.canvas_samples import AuditedCanvas, Canvases, controls, treated
from stages.audits.seam.features import features_of, line_features_of
from stages.audits.seam.heat_map import CanvasHeatMap, heat_maps
from stages.audits.seam.patches import LabelledCanvas, Patches, lines, sides
from stages.audits.seam.probes import auc, auc_by_photo, folds_of, logistic, network, out_of_fold
from stages.canvases.seam_treatment import SeamSettings, kept_psnr

Floats = NDArray[np.float64]
SMALL_CANVAS = 384  # long side in pixels; on smaller canvases few patches of 32 pixels lie wholly in the paint
HEAT_MAPS = 8
CHANCE = 0.03  # of an AUC around 0.5: how much two trainings of a probe differ
PLAIN = 0.95  # AUC that a sound probe reaches on a blurred surrounding
Figure = list[float]  # [AUC, low, high]
Say = Callable[[str], None]


@dataclass(frozen=True)
class AuditSettings:
    """Settings of a seam audit.

    Args:
        side: of a patch in pixels, a multiple of 8; 0 for 16, or 32 on canvases of 384 pixels and more.
        folds: parts that the photos are dealt into, each tested by probes trained on the others.
        most: patches of a kind from one canvas.
        canvases: read at most.
        draws: of the bootstrap.
        seed: of folds, patches, controls and the CNN.
        network: whether the CNN is trained, too, which takes most of the time.
    """

    side: int = 0
    folds: int = 5
    most: int = 24
    canvases: int = 400
    draws: int = 1000
    seed: int = 0
    network: bool = True


class ProbeFigures(TypedDict, total=False):
    """What the probes reached on one set of canvases.

    Attributes:
        patches: of both kinds.
        within: the logistic probe's AUC on each canvas by itself, averaged.
        auc: the higher of ``logistic`` and ``network``.
        logistic, network: AUC of photo against paint.
        line: AUC of the frame against patches on one side of it; absent where no patch has the frame.
    """

    patches: int
    within: float
    auc: Figure
    logistic: Figure
    network: Figure
    line: Figure


class AuditRow(ProbeFigures):
    """Canvases that were made alike. kept_psnr: of the photo inside its frame, dB."""

    outpainter: str
    seam: str
    treatment: str
    canvases: int
    kept_psnr: float


class SeamAuditResult(TypedDict):
    """The content of ``audit seam --json``.

    Attributes:
        patch: side in pixels.
        canvases, photos: how many were read.
        folds, seed: of the settings.
        rows: one for each way in which the canvases were made, and one for each treatment applied to them.
        controls: figures by the name of a control.
        holds: whether the controls came out as they must.
        heat: heat maps of some canvases.
    """

    patch: int
    canvases: int
    photos: int
    folds: int
    seed: int
    rows: list[AuditRow]
    controls: dict[str, ProbeFigures]
    holds: bool
    heat: list[CanvasHeatMap]


def audit(tables: Tables, settings: AuditSettings, treatments: Sequence[SeamSettings], say: Say) -> SeamAuditResult:
    """Audit a run's canvases. Raises MissingUpstreamError without canvases, UsageError when they are too few or too small.

    Args:
        tables: of the run.
        settings: of the audit.
        treatments: each is also applied to the stored canvases and audited.
        say: called with a line of progress.
    """
    source = Canvases(tables, settings.canvases)
    canvases = list(source)
    side = settings.side or (16 if max(max(c.pixels.shape) for c in canvases) < SMALL_CANVAS else 32)
    _check(canvases, side, settings)
    rows = []
    for outpainter, seam in sorted({canvas.recipe for canvas in canvases}):
        made = [canvas for canvas in canvases if canvas.recipe == (outpainter, seam)]
        say(f"{outpainter}, {seam}: {len(made)} canvases")
        kept = [kept_psnr(canvas.pixels, canvas.original, canvas.box_px) for canvas in made]
        figures = probe([canvas.scene for canvas in made], side, settings)
        rows.append(_row(outpainter, seam, "", made, float(np.mean(kept)), figures))
        for treatment in treatments:
            say(f"{outpainter}, {treatment.words}")
            scenes, psnr = treated(made, treatment)
            rows.append(_row(outpainter, seam, treatment.words, made, psnr, probe(scenes, side, settings)))
    by_control = {}
    for name, scenes in controls(source, settings.seed).items():
        say(f"control: {name}")
        by_control[name] = probe(scenes, side, settings)
    return {
        "patch": side,
        "canvases": len(canvases),
        "photos": len({canvas.photo for canvas in canvases}),
        "folds": settings.folds,
        "seed": settings.seed,
        "rows": rows,
        "controls": by_control,
        "holds": controls_hold(by_control),
        "heat": heat_maps([canvas.scene for canvas in canvases], side, settings.folds, settings.seed, HEAT_MAPS),
    }


def probe(scenes: Sequence[LabelledCanvas], side: int, settings: AuditSettings) -> ProbeFigures:
    """Train and test all probes on patches of ``side`` pixels; UsageError when too few canvases have them."""
    patches = sides(scenes, side, settings.most, settings.seed)
    if len(set(patches.photos.tolist())) < settings.folds:
        raise UsageError(
            f"too few canvases have {side} px patches in the photo and in the paint: audit more canvases, or give --patch"
        )
    folds = folds_of(patches.photos, settings.folds, settings.seed)
    scores = out_of_fold(logistic(features_of(patches), patches.target), folds)
    linear = _figure(scores, patches, settings)
    figures = ProbeFigures(patches=len(patches), within=round(_within(scores, patches), 4), auc=linear, logistic=linear)
    if settings.network:
        figures["network"] = _figure(out_of_fold(network(patches, settings.seed), folds), patches, settings)
        figures["auc"] = max(linear, figures["network"])
    across = lines(scenes, side, settings.most // 2, settings.seed)
    folds = folds_of(across.photos, settings.folds, settings.seed)
    if len(np.unique(folds)) > 1:
        scores = out_of_fold(logistic(line_features_of(across), across.target), folds)
        figures["line"] = _figure(scores, across, settings)
    return figures


def controls_hold(by_control: Mapping[str, ProbeFigures]) -> bool:
    """Whether the probes are at chance on ``random`` and reach ``PLAIN`` on ``blurred``.

    At chance means an interval that holds 0.5, or a value within ``CHANCE`` of it: an interval by photo does not include
    how much another training of the probe would differ.
    """
    random = by_control["random"]
    figures = [figure for figure in (random.get("logistic"), random.get("network"), random.get("line")) if figure]
    at_chance = all(low <= 0.5 <= high or abs(value - 0.5) < CHANCE for value, low, high in figures)
    return at_chance and by_control["blurred"]["auc"][0] > PLAIN


def _check(canvases: Sequence[AuditedCanvas], side: int, settings: AuditSettings) -> None:
    if side % 8 or side < 16:
        raise UsageError(f"--patch {side}: give a multiple of 8, 16 or more")
    smallest = min(min(canvas.pixels.shape[:2]) for canvas in canvases)
    if smallest < side:
        raise UsageError(f"a canvas has a side of {smallest} px, less than a patch of {side}: give a smaller --patch")
    photos = len({canvas.photo for canvas in canvases})
    if photos < 2 * settings.folds:
        raise UsageError(
            f"{photos} photographs are too few for {settings.folds} folds of at least two: "
            f"out-paint more, or give --folds {max(2, photos // 2)}"
        )


def _figure(scores: Floats, patches: Patches, settings: AuditSettings) -> list[float]:
    interval = auc_by_photo(scores, patches.target, patches.photos, settings.draws, settings.seed)
    return [round(value, 4) for value in interval]


def _within(scores: Floats, patches: Patches) -> float:
    """Mean over canvases of the AUC on one canvas."""
    each = [(patches.scenes == number) for number in np.unique(patches.scenes)]
    return float(np.mean([auc(scores[one], patches.target[one]) for one in each]))


def _row(
    outpainter: str, seam: str, treatment: str, made: Sequence[AuditedCanvas], psnr: float, figures: ProbeFigures
) -> AuditRow:
    return {
        "outpainter": outpainter,
        "seam": seam,
        "treatment": treatment,
        "canvases": len(made),
        "kept_psnr": round(psnr, 2),
        **figures,
    }
