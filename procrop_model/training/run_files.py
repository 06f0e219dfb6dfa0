"""The folder of a training run: checkpoint, logs, model and, at its end, reports. ``finished.json`` is written last."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import RefusedError
from pipeline.core.json_types import JsonObject
from pipeline.core.replace_file import replacing
from procrop_model.training.training_report import EpochRow, TrainingSummary, html_report, plot_history


@dataclass(frozen=True)
class RunFolder:
    """The folder of the training run with a given identity; that of another run is refused.

    Args:
        path: the folder; it need not exist yet.
        identity: digest of settings, data and start weights (``config.identity_of``).
    """

    path: Path
    identity: str

    @property
    def checkpoint(self) -> Path:
        """The file from which an interrupted run resumes."""
        return self.path / "checkpoint.pt"

    @property
    def model(self) -> Path:
        """The folder of the trained cropper."""
        return self.path / "cropper"

    def check_identity(self, identity: str) -> None:
        """Raises RefusedError when a file of the folder was written under another identity."""
        if identity != self.identity:
            raise RefusedError(
                f"{self.path} holds a training run with other settings or data: choose another folder or remove it"
            )

    def read_summary(self) -> TrainingSummary | None:
        """The summary of the finished run, or None before its end; raises RefusedError for another run's."""
        path = self.path / "finished.json"
        if not path.exists():
            return None
        summary: TrainingSummary = json.loads(path.read_text("utf-8"))
        self.check_identity(summary["identity"])
        return summary

    def write_reports(self, history: Sequence[EpochRow], summary: TrainingSummary, settings: JsonObject) -> None:
        """Writes ``history.json``, ``loss.png``, ``summary.html`` and ``finished.json``, in this order."""
        write_text(self.path / "history.json", json.dumps(history, indent=1))
        plot_history(history, self.path / "loss.png")
        page = html_report(summary, settings, history, (self.path / "loss.png").read_bytes())
        write_text(self.path / "summary.html", page)
        write_text(self.path / "finished.json", json.dumps(summary, indent=1))


def write_text(path: Path, text: str) -> None:
    """Replaces a UTF-8 file in one step."""
    with replacing(path) as aside:
        aside.write_text(text, "utf-8")
