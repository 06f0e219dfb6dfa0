"""The files of a finished training run; ``finished.json`` is written last."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.core.errors import RefusedError
from procrop_model.training.plots import plot_history
from procrop_model.training.training_report import summary_page


def read_finished(out_dir: Path, identity: str) -> dict[str, Any] | None:
    """The summary of a finished run, or None; raises RefusedError when the folder holds another run."""
    path = out_dir / "finished.json"
    if not path.exists():
        return None
    summary: dict[str, Any] = json.loads(path.read_text("utf-8"))
    if summary["identity"] != identity:
        raise RefusedError(other_run(out_dir))
    return summary


def other_run(out_dir: Path) -> str:
    """What to tell about a folder that another run owns."""
    return f"{out_dir} holds a training run with other settings or data: choose another folder or remove it"


def write_finished(
    out_dir: Path, history: Sequence[dict[str, Any]], summary: dict[str, Any], settings: dict[str, Any]
) -> None:
    """Writes ``history.json``, ``loss.png``, ``summary.html`` and ``finished.json``."""
    _write_json(out_dir / "history.json", history)
    plot_history(history, out_dir / "loss.png")
    page = summary_page(summary, settings, history, (out_dir / "loss.png").read_bytes())
    write_text(out_dir / "summary.html", page)
    _write_json(out_dir / "finished.json", summary)


def _write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1))


def write_text(path: Path, text: str) -> None:
    """Replaces a file in one step."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, "utf-8")
    partial.replace(path)
