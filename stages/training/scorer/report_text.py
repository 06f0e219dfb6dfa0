"""The report of a scorer's training, and its figures as text for the card and the terminal."""

from collections.abc import Iterator

from pipeline.core.json_types import Json
from stages.training.scorer.calibration import Reliability
from stages.training.scorer.pair_accuracy import HeldOutFigures


class ScorerReport(HeldOutFigures):
    """The content of ``report.json``.

    Attributes:
        digest: of the weights.
        settings: of the training.
        outpainter: name and digest of the out-painter of the canvases.
        photos: names by split.
        unreadable: files that could not be decoded.
        seconds: by part of the training.
        cross_validated: accuracy by kind of pair, on the photos that a fold's head was not fitted to.
        validated: accuracy by kind of pair on the photos of ``val``, by which nothing is chosen.
    """

    digest: str
    settings: dict[str, Json]
    outpainter: str
    photos: dict[str, list[str]]
    unreadable: list[str]
    seconds: dict[str, int]
    cross_validated: dict[str, float]
    validated: dict[str, float]


def figures_text(report: ScorerReport) -> str:
    """The figures of a report as Markdown that also reads well on a terminal."""
    return "\n".join([*_accuracies(report), "", *_calibration(report["calibration"]), "", *_crop_search(report)])


def _accuracies(report: ScorerReport) -> Iterator[str]:
    yield "Share of size-matched pairs in the right order, mean over photos, 95 % bootstrap interval over photos. *degraded*:"
    yield "the picture blurred, given noise and re-encoded twice as strongly as in training. *within 16:9*: only pairs whose"
    yield "crops both are. *validated*: on the photos of `val`. *cross-validated*: on those trained on, by heads that did not"
    yield "see them, and on views degraded as in training."
    yield ""
    yield "| kind | accuracy | interval | pairs | degraded | within 16:9 | validated | cross-validated |"
    yield "|---|---|---|---|---|---|---|---|"
    for kind, row in report["accuracy"].items():
        cells = [row["accuracy"], f"{row['low']} to {row['high']}", row["pairs"]]
        cells.append(report["accuracy_degraded"][kind]["accuracy"])
        cells.append(report["accuracy_within_16_9"].get(kind, {}).get("accuracy", "-"))
        cells += [report["validated"].get(kind, "-"), report["cross_validated"].get(kind, "-")]
        yield f"| {kind} | {' | '.join(str(cell) for cell in cells)} |"


def _calibration(by_kind: Reliability) -> Iterator[str]:
    yield "How sure it is of a pair (the mean chance that it gives to the crop that it prefers), how often that one is the"
    yield "better, and the expected calibration error; *all* counts each kind alike."
    yield ""
    yield "| kind | sure | right | error |"
    yield "|---|---|---|---|"
    for kind, row in by_kind.items():
        if isinstance(row, dict):  # all but the bins
            yield f"| {kind} | {row['sure']} | {row['right']} | {row['error']} |"


def _crop_search(report: ScorerReport) -> Iterator[str]:
    if best := report["best_crop"]:
        yield f"- Best of the candidates of the photo's area on {best['canvases']} canvases with one subject: it keeps"
        yield f"  {best['by_score']} of the subject, a random candidate {best['random']}, the photo's own rectangle"
        yield f"  {best['true_box']}, the most of any {best['possible']}. IoU with that rectangle: {best['iou_by_score']},"
        yield f"  random {best['iou_random']}."
    if kept := report["subject_kept_inside"]:
        yield f"- Subject kept by the best of 60 equal-area crops inside a photo: {kept['by_score']}, random"
        yield f"  {kept['random']}, possible {kept['possible']}."
    taus = (f"{name} {row['mean']} (least {row['least']})" for name, row in report["ranking_agreement"].items())
    yield f"- Kendall's tau of a canvas's ranking with that of the canvas changed: {', '.join(taus)}."
