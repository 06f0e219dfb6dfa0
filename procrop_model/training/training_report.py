"""The report of a finished training run: its loss curves as a PNG, and one HTML page without scripts."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path

from matplotlib.figure import Figure

from pipeline.core.json_types import Json, JsonObject
from pipeline.core.replace_file import replacing
from procrop_model.training.data_sources import DataCounts

EpochRow = Mapping[str, float]  # epoch from 0, "loss/NAME" (means, unweighted), val_iou, learning_rate
STYLE = """body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin-top: 2rem } img { max-width: 100% }
table { border-collapse: collapse } td, th { text-align: left; padding: .15rem 1.2rem .15rem 0; vertical-align: top }
th { font-weight: 600 } td.n, th.n { text-align: right; font-variant-numeric: tabular-nums } .wide { overflow-x: auto }
.settings { columns: 2 24rem } .best { background: #fff3d6 }"""


class TrainingSummary(DataCounts):
    """The result of a run, and the content of its ``finished.json``.

    identity: digest of settings and data. val_iou: of the best epoch; -1 without a validation split. best_epoch: from 0. epochs:
    trained in all. references: photographs in the database. seconds: of training, over all restarts.
    """

    identity: str
    model: str
    mode: str
    val_iou: float
    best_epoch: int
    epochs: int
    references: int
    seconds: float


def plot_history(history: Sequence[EpochRow], path: Path) -> None:
    """Writes a PNG of the losses and of the validation IoU by epoch."""
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
    if any(value >= 0 for value in values):  # -1: there is no validation split
        scores.plot(epochs, values, color="black", marker="." if len(values) < 20 else "")
        best = max(range(len(values)), key=values.__getitem__)
        scores.plot(epochs[best], values[best], "o", color="tab:red", label=f"epoch {epochs[best]}: {values[best]:.3f}")
        scores.legend(fontsize="small", loc="lower right")
    else:
        scores.text(0.5, 0.5, "no validation split", ha="center", transform=scores.transAxes)
    scores.set(xlabel="epoch", ylabel="IoU of the top crop on the val split", ylim=(0, 1))
    with replacing(path) as aside:
        figure.savefig(aside, dpi=110, format="png")


def html_report(summary: TrainingSummary, settings: JsonObject, history: Sequence[EpochRow], plot: bytes) -> str:
    """The HTML page. plot: a PNG of the curves. The same run gives the same page, except for its seconds."""
    picture = base64.b64encode(plot).decode()
    return "\n".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>Cropper {escape(summary['identity'])}</title><style>{STYLE}</style></head><body>",
            f"<h1>Cropper, trained in {escape(str(summary['mode']))} mode</h1>",
            f"<p>{escape(_result(summary))}</p>",
            f'<img alt="Losses and validation IoU by epoch" src="data:image/png;base64,{picture}">',
            "<h2>Data and time</h2>",
            _table(_data_rows(summary)),
            "<h2>Epochs</h2>",
            f'<div class="wide">{_epochs(history, summary["best_epoch"])}</div>',
            "<h2>Settings</h2>",
            f'<div class="settings">{_table(_flat(settings))}</div>',
            "</body></html>\n",
        ]
    )


def _result(summary: TrainingSummary) -> str:
    epoch = f"epoch {summary['best_epoch'] + 1} of {summary['epochs']}"
    if summary["val_iou"] < 0:
        return f"There was no validation split, so the model is that of the last epoch ({epoch})."
    return (
        f"The model is that of {epoch}, whose best crop has an IoU of {summary['val_iou']:.3f} on the validation split."
    )


def _data_rows(summary: TrainingSummary) -> Iterator[tuple[str, Json]]:
    yield "training images", summary["samples"]
    yield "of these annotated by people", summary["annotated"]
    yield "images per epoch", summary["an_epoch"]
    yield "validation images", summary["validation"]
    yield "public sets", ", ".join(summary["sets"]) or "none"
    yield "reference photographs", summary["references"]
    yield "seconds", f"{summary['seconds']:.0f}"
    yield "identity of the run", summary["identity"]


def _flat(settings: JsonObject, prefix: str = "") -> Iterator[tuple[str, Json]]:
    """Settings as rows, nested ones under dotted names."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value if value not in ("", (), []) else "-"


def _table(rows: Iterator[tuple[str, Json]]) -> str:
    body = "".join(f"<tr><th>{escape(str(a))}</th><td>{escape(str(b))}</td></tr>" for a, b in rows)
    return f"<table>{body}</table>"


def _epochs(history: Sequence[EpochRow], best: int) -> str:
    names = [name for name in history[0] if name != "epoch"] if history else []
    head = "".join(f'<th class="n">{escape(name.removeprefix("loss/"))}</th>' for name in ["epoch", *names])
    rows = []
    for row in history:
        cells = "".join(f'<td class="n">{row[name]:.4g}</td>' for name in names)
        kind = ' class="best"' if row["epoch"] == best else ""
        rows.append(f'<tr{kind}><td class="n">{row["epoch"] + 1}</td>{cells}</tr>')
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"
