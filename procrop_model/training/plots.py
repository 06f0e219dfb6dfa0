"""The loss plot."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure


def plot_history(history: Sequence[dict[str, Any]], path: Path) -> None:
    """A PNG of the losses and of the validation IoU by epoch."""
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    losses, scores = figure.subplots(1, 2)
    epochs = [row["epoch"] + 1 for row in history]
    names = [name for name in history[0] if name.startswith("loss/")] if history else []
    for name in names:
        losses.plot(epochs, [row[name] for row in history], label=name.removeprefix("loss/"))
    losses.set(xlabel="epoch", ylabel="mean loss (unweighted)", yscale="log")
    handles, labels = losses.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, fontsize="small", loc="outside upper left", ncols=len(handles))
    values = [row["val_iou"] for row in history]
    if any(value >= 0 for value in values):  # -1: there was nothing to validate on
        scores.plot(epochs, values, color="black", marker="." if len(values) < 20 else "")
        best = max(range(len(values)), key=values.__getitem__)
        scores.plot(epochs[best], values[best], "o", color="tab:red", label=f"epoch {epochs[best]}: {values[best]:.3f}")
        scores.legend(fontsize="small", loc="lower right")
    else:
        scores.text(0.5, 0.5, "no validation split", ha="center", transform=scores.transAxes)
    scores.set(xlabel="epoch", ylabel="IoU of the top crop on the val split", ylim=(0, 1))
    partial = path.with_name(path.name + ".partial")
    figure.savefig(partial, dpi=110, format="png")
    partial.replace(path)
