"""The audit itself: probes on canvases, treatments and controls, each as an AUC with an interval drawn by photo."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import UsageError
from pipeline.core.stage import Tables
from stages.audits.seam.canvas_samples import Canvases, Painted, controls, treated
from stages.audits.seam.features import features_of, line_features_of
from stages.audits.seam.heat_map import heat_maps
from stages.audits.seam.metrics import auc, auc_by_photo
from stages.audits.seam.patches import Patches, Scene, lines, sides
from stages.audits.seam.probes import folds_of, logistic, network, out_of_fold
from stages.canvases.seam_treatment import SeamSettings, kept_psnr

Floats = NDArray[np.float64]
SMALL_CANVAS = 384
HEAT_MAPS = 8
CHANCE, PLAIN = 0.03, 0.95
Say = Callable[[str], None]


@dataclass(frozen=True)
class AuditSettings:
    """side: of a patch in pixels, a multiple of 8; 0: 16, or 32 on canvases of 384 and more. folds: parts that the photos
    are dealt into, each judged by probes trained on the others. most: patches of a kind from one canvas; canvases: read
    at most. draws: of the bootstrap. network: whether the CNN is trained, too (most of the time goes there).
    """

    side: int = 0
    folds: int = 5
    most: int = 24
    canvases: int = 400
    draws: int = 1000
    seed: int = 0
    network: bool = True


def audit(tables: Tables, settings: AuditSettings, treatments: Sequence[SeamSettings], say: Say) -> dict[str, Any]:
    """Figures of a run, in the form of ``audit seam --json``.

    ``rows``: one for each way in which the canvases were made, and one for each of ``treatments`` put on top of them;
    ``controls`` by name; ``holds``: whether the controls came out as they must; ``heat``: canvases with the chance of
    paint in every cell. Raises MissingUpstreamError without canvases, UsageError when they are too few or too small.
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
    told = {}
    for name, scenes in controls(source, settings.seed).items():
        say(f"control: {name}")
        told[name] = probe(scenes, side, settings)
    return {
        "patch": side,
        "canvases": len(canvases),
        "photos": len({canvas.photo for canvas in canvases}),
        "folds": settings.folds,
        "seed": settings.seed,
        "rows": rows,
        "controls": told,
        "holds": holds(told),
        "heat": heat_maps([canvas.scene for canvas in canvases], side, settings.folds, settings.seed, HEAT_MAPS),
    }


def probe(scenes: Sequence[Scene], side: int, settings: AuditSettings) -> dict[str, Any]:
    """AUCs [value, low, high] by probe: ``logistic`` and ``network`` tell photo from paint, ``line`` finds the frame.

    ``within``: the logistic probe's AUC on each canvas by itself, averaged. ``auc``: the stronger of the first two.
    """
    patches = sides(scenes, side, settings.most, settings.seed)
    if len(set(patches.photos.tolist())) < settings.folds:
        raise UsageError(
            f"too few canvases have {side} px patches in the photo and in the paint: audit more canvases, or give --patch"
        )
    folds = folds_of(patches.photos, settings.folds, settings.seed)
    scores = out_of_fold(logistic(features_of(patches), patches.target), folds)
    found = {"logistic": _figure(scores, patches, settings)}
    told: dict[str, Any] = {"patches": len(patches), "within": round(_within(scores, patches), 4)}
    if settings.network:
        found["network"] = _figure(out_of_fold(network(patches, settings.seed), folds), patches, settings)
    told["auc"] = max(found.values())
    across = lines(scenes, side, settings.most // 2, settings.seed)
    folds = folds_of(across.photos, settings.folds, settings.seed)
    if len(np.unique(folds)) > 1:
        scores = out_of_fold(logistic(line_features_of(across), across.target), folds)
        found["line"] = _figure(scores, across, settings)
    return {**told, **found}


def holds(told: dict[str, Any]) -> bool:
    """Whether the probes find nothing where nothing is, and nearly everything where it is plain to see.

    Chance is an interval that holds 0.5, or a value within ``CHANCE`` of it: an interval drawn by photo knows nothing of
    how another training would have come out.
    """
    chance = all(
        told["random"][name][1] <= 0.5 <= told["random"][name][2] or abs(told["random"][name][0] - 0.5) < CHANCE
        for name in ("logistic", "network", "line")
        if name in told["random"]
    )
    return bool(chance and told["blurred"]["auc"][0] > PLAIN)


def _check(canvases: Sequence[Painted], side: int, settings: AuditSettings) -> None:
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
    found = auc_by_photo(scores, patches.target, patches.photos, settings.draws, settings.seed)
    return [round(value, 4) for value in found]


def _within(scores: Floats, patches: Patches) -> float:
    """Mean over canvases of the AUC on one canvas."""
    each = [(patches.scenes == number) for number in np.unique(patches.scenes)]
    return float(np.mean([auc(scores[one], patches.target[one]) for one in each]))


def _row(
    outpainter: str, seam: str, treatment: str, made: Sequence[Painted], psnr: float, figures: dict[str, Any]
) -> dict[str, Any]:
    about = {"outpainter": outpainter, "seam": seam, "treatment": treatment, "canvases": len(made)}
    return {**about, "kept_psnr": round(psnr, 2), **figures}
