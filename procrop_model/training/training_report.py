"""The page that tells a training run: curves, where it ended, on what data and with which settings. One file, no scripts."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

STYLE = """body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin-top: 2rem } img { max-width: 100% }
table { border-collapse: collapse } td, th { text-align: left; padding: .15rem 1.2rem .15rem 0; vertical-align: top }
th { font-weight: 600 } td.n, th.n { text-align: right; font-variant-numeric: tabular-nums } .wide { overflow-x: auto }
.settings { columns: 2 24rem } .best { background: #fff3d6 }"""


def summary_page(
    summary: Mapping[str, Any], settings: Mapping[str, Any], history: Sequence[Mapping[str, Any]], plot: bytes
) -> str:
    """HTML of a finished run. plot: a PNG of its curves. The same run gives the same page but for its seconds."""
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


def _result(summary: Mapping[str, Any]) -> str:
    epoch = f"epoch {summary['best_epoch'] + 1} of {summary['epochs']}"
    if summary["val_iou"] < 0:
        return f"There was no validation split, so the model is that of the last epoch ({epoch})."
    return (
        f"The model is that of {epoch}, whose best crop has an IoU of {summary['val_iou']:.3f} on the validation split."
    )


def _data_rows(summary: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield "pictures to train on", summary["samples"]
    yield "of these judged by people", summary["annotated"]
    yield "shown an epoch", summary["an_epoch"]
    yield "pictures to choose the epoch on", summary["validation"]
    yield "public sets", ", ".join(summary["sets"]) or "none"
    yield "reference photographs", summary["references"]
    yield "seconds", f"{summary['seconds']:.0f}"
    yield "identity of the run", summary["identity"]


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value if value not in ("", (), []) else "-"


def _table(rows: Iterator[tuple[str, Any]]) -> str:
    body = "".join(f"<tr><th>{escape(str(a))}</th><td>{escape(str(b))}</td></tr>" for a, b in rows)
    return f"<table>{body}</table>"


def _epochs(history: Sequence[Mapping[str, Any]], best: int) -> str:
    names = [name for name in history[0] if name != "epoch"] if history else []
    head = "".join(f'<th class="n">{escape(name.removeprefix("loss/"))}</th>' for name in ["epoch", *names])
    rows = []
    for row in history:
        cells = "".join(f'<td class="n">{row[name]:.4g}</td>' for name in names)
        kind = ' class="best"' if row["epoch"] == best else ""
        rows.append(f'<tr{kind}><td class="n">{row["epoch"] + 1}</td>{cells}</tr>')
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"
