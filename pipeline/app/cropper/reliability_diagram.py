"""A picture of an evaluation: the share of crops that reach an IoU of 0.75, beside the score that foretold it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def draw_reliability_diagram(calibration: Mapping[str, Any], path: Path) -> None:
    """Writes a PNG.

    Args:
        calibration: ``calibration`` of an evaluation, with ``bins`` and ``error``.
        path: of the PNG.
    """
    from matplotlib.figure import Figure

    bins = calibration["bins"]
    scores, shares = [one["score"] for one in bins], [one["reached"] for one in bins]
    below, above = [mean - low for mean, low, _ in shares], [high - mean for mean, _, high in shares]
    figure = Figure(figsize=(5.5, 5.5), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    axes.errorbar(scores, [mean for mean, *_ in shares], [below, above], fmt="o", color="tab:orange", capsize=3)
    axes.set(
        xlabel="score of the crop", ylabel="share of crops with an IoU of at least 0.75", xlim=(0, 1.02), ylim=(0, 1.02),
        title=f"{sum(one['n'] for one in bins)} pictures, mean distance {calibration['error']:.2f}", aspect="equal",
    )  # fmt: skip
    axes.title.set_fontsize("medium")
    figure.savefig(path, dpi=110, format="png")
