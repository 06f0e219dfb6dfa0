"""A picture of an evaluation: the size of the model's crop beside that of the person's crop, a point a photograph."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def draw_size_scatter(rows: Sequence[Mapping[str, Any]], correlation: Sequence[float] | None, path: Path) -> None:
    """Writes a PNG.

    Args:
        rows: of ``images`` in an evaluation by boxes, with ``area`` and ``person_area`` in 0..1.
        correlation: of the two, [r, low, high]; None if one is constant.
        path: of the PNG.
    """
    import numpy as np
    from matplotlib.figure import Figure

    person, own = ([float(row[name]) for row in rows] for name in ("person_area", "area"))
    figure = Figure(figsize=(5.5, 5.5), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    axes.plot(person, own, ".", markersize=7, alpha=0.5, color="tab:orange", markeredgewidth=0)
    axes.plot(np.median(person), np.median(own), "+", markersize=16, markeredgewidth=2, color="black")
    words = "no correlation: one side is constant"
    if correlation is not None:
        words = "correlation {:.2f} [{:.2f}, {:.2f}]".format(*correlation)
    axes.set(
        xlabel="share of the picture that the person keeps", ylabel="share that the model keeps", xlim=(0, 1.02), ylim=(0, 1.02),
        title=f"{len(rows)} pictures, {words}; + median", aspect="equal",
    )  # fmt: skip
    axes.title.set_fontsize("medium")
    figure.savefig(path, dpi=110, format="png")
