"""Which photographs a folder of crops has been made of already, so that a run can be stopped and go on."""

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LEDGER = "crops.jsonl"


class CropLedger:
    """One line a photograph in ``crops.jsonl``, written after its crops; of several of one photograph the last counts."""

    def __init__(self, folder: Path, asked: str) -> None:
        """asked: digest of model and options; lines of another do not count."""
        self._path, self._asked = folder / LEDGER, asked
        self._done: dict[str, dict[str, Any]] = {}
        with contextlib.suppress(FileNotFoundError):
            for line in self._path.read_text("utf-8", errors="replace").splitlines():
                with contextlib.suppress(ValueError, TypeError, KeyError):  # the last line of a killed run may be cut
                    row = json.loads(line)
                    self._done[row["file"]] = row

    def find(self, file: Path) -> dict[str, Any] | None:
        """What was told of a photograph, if it is unchanged, was asked the same, and all its outputs are still there."""
        row = self._done.get(str(file.resolve()))
        if row is None or row["asked"] != self._asked or row["state"] != _state(file):
            return None
        entry: dict[str, Any] = row["entry"]
        return entry if all(Path(made).is_file() for made in row["made"]) else None

    def add(self, file: Path, entry: Mapping[str, Any], made: list[str]) -> None:
        """Keep what is told of a photograph; ``made``: the files that it gave."""
        row = {"file": str(file.resolve()), "state": _state(file), "asked": self._asked, "made": made, "entry": entry}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        cut = self._path.is_file() and self._path.stat().st_size > 0 and not _ends_a_line(self._path)
        with self._path.open("a", encoding="utf-8") as file_:
            file_.write(("\n" if cut else "") + json.dumps(row, ensure_ascii=False) + "\n")


def _state(file: Path) -> list[int]:
    about = file.stat()
    return [about.st_size, about.st_mtime_ns]


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read(1) == b"\n"
