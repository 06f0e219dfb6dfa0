"""Scores: the pseudo-labels compared with other crops, the thresholds of the filter, and the gain of each round."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.core.records import Refined
from pipeline.report.charts import Series, histogram, line_chart
from pipeline.report.reader import RunReader
from pipeline.report.section import Material, Section

CALIBRATION = "filter/shared/calibration.json"
BINS = 24
LABEL, OTHER = "photo's own rectangle", "other crops"


def score_section(material: Material) -> Section:
    """Histograms over the last round, with the thresholds that the filter drew from them."""
    reader, title = material.reader, "Scores of the crops"
    if not reader.rounds:
        return Section("scores", title, missing="No crop was scored yet", command=material.command("refine"))
    rows = _scored(reader, reader.rounds[-1])
    labels = np.array([row.scores[0] for row in rows])
    others = np.array([score for row in rows for score in row.scores[1:]])
    thresholds = _thresholds(reader)
    edges = _edges(labels, others)
    counts = {LABEL: np.histogram(labels, edges)[0].tolist(), OTHER: np.histogram(others, edges)[0].tolist()}
    series = [Series(OTHER, _shares(counts[OTHER]), "s1"), Series(LABEL, _shares(counts[LABEL]), "s0")]
    marks = [(name, value, style) for (name, value), style in zip(thresholds.items(), ("s0", "s1"), strict=False)]
    chart = histogram(edges, series, marks=marks, label=f"Scores of {LABEL} and of {OTHER}", x_label="score")
    data = {
        "round": reader.rounds[-1],
        "edges": edges,
        "counts": counts,
        "mean": {LABEL: _mean(labels), OTHER: _mean(others)},
        "thresholds": thresholds,
        "label_wins": _label_wins(rows),
        "sampled_shards": len(reader.shards) if reader.is_sampled else 0,
    }
    return Section("scores", title, data=data, view={"chart": chart, "n": {LABEL: len(labels), OTHER: len(others)}})


def _scored(reader: RunReader, stage: str) -> list[Refined]:
    """Rows of a round that have scores."""
    return [row.record for row in reader.rows(stage, Refined) if row.record is not None and row.record.scores]


def _thresholds(reader: RunReader) -> dict[str, float]:
    """Thresholds of the filter; empty before it ran."""
    if not reader.run.store.exists(CALIBRATION):
        return {}
    calibration: dict[str, float] = json.loads(reader.run.store.read(CALIBRATION))
    return {
        "canvas dropped under": calibration["canvas_threshold"],
        "crop dropped under": calibration["crop_threshold"],
    }


def _edges(labels: NDArray[np.float64], others: NDArray[np.float64]) -> list[float]:
    values = np.concatenate([labels, others]) if len(labels) else np.zeros(1)
    low, high = float(values.min()), float(values.max())
    if high - low < 1e-6:
        low, high = low - 0.5, high + 0.5
    return [round(float(v), 4) for v in np.linspace(np.floor(low * 2) / 2, np.ceil(high * 2) / 2, BINS + 1)]


def _shares(counts: list[int]) -> list[float]:
    total = sum(counts) or 1
    return [count / total for count in counts]


def _mean(values: NDArray[np.float64]) -> float:
    return round(float(values.mean()), 3) if len(values) else 0.0


def _label_wins(rows: Sequence[Refined]) -> float:
    """Share of canvases whose own rectangle scores at least as high as the mean of the other crops."""
    wins = [row.scores[0] >= float(np.mean(row.scores[1:])) for row in rows if len(row.scores) > 1]
    return round(float(np.mean(wins)), 3) if wins else 0.0


def round_section(material: Material) -> Section:
    """What each round changed: share of canvases still moving, mean gain, mean score before and after."""
    reader, title = material.reader, "Gain by refinement round"
    if not reader.rounds:
        return Section("rounds", title, missing="No round was run yet", command=material.command("refine"))
    rounds = [_round(number, _scored(reader, name)) for number, name in enumerate(reader.rounds, 1)]
    xs = [0, *(row.round for row in rounds)]
    beam = Series("mean of a canvas's best distinct crops", [rounds[0].before, *(row.after for row in rounds)], "s1")
    label = Series("photo's own rectangle", [rounds[0].label] * len(xs), "s0")
    chart = line_chart(xs, [beam, label], label="Mean score by round", x_label="round (0: the proposals)")
    active = Series("canvases still active", [1.0, *(row.active for row in rounds)], "s3")
    share = line_chart(
        xs, [active], label="Share of canvases still active by round", x_label="round", y_range=(0.0, 1.0)
    )
    return Section("rounds", title, data=[asdict(row) for row in rounds], view={"chart": chart, "active": share})


@dataclass(frozen=True)
class RoundSummary:
    """Means over the canvases of one round; an inactive canvas has a gain of 0.

    Args:
        round: number of the round, from 1.
        canvases: number of canvases with scores.
        active: share of canvases that the round still changed.
        gain: of a canvas's best distinct crops.
        before: mean score of these crops before the round.
        after: mean score of these crops after the round.
        label: mean score of the photo's own rectangle.
    """

    round: int
    canvases: int
    active: float
    gain: float
    before: float
    after: float
    label: float


def _round(number: int, rows: Sequence[Refined]) -> RoundSummary:
    after = np.array([np.mean(row.scores[1:] or row.scores) for row in rows])
    gains = np.array([row.gain for row in rows])
    return RoundSummary(
        round=number,
        canvases=len(rows),
        active=round(float(np.mean([row.active for row in rows])), 4) if rows else 0.0,
        gain=_rounded(gains),
        before=_rounded(after - gains),
        after=_rounded(after),
        label=_rounded(np.array([row.scores[0] for row in rows])),
    )


def _rounded(values: NDArray[np.float64]) -> float:
    return round(float(values.mean()), 4) if len(values) else 0.0
