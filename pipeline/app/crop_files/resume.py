"""Which photographs of a folder are cropped already, so that an interrupted command can continue."""

import contextlib
import json
from pathlib import Path
from typing import TypedDict

from pipeline.app.crop_files.entries import PhotoRecord

FILE = "crops.jsonl"


class _Row(TypedDict):
    """A line of the file. state: size in bytes and modification time in ns; asked: digest of model and options."""

    file: str
    state: list[int]
    asked: str
    made: list[str]
    entry: PhotoRecord


class CropLedger:
    """One line per photograph in ``crops.jsonl``, written before its crops get their names; the last line of a photograph counts.

    Args:
        folder: for the crops; may not exist yet.
        options_digest: digest of the model and options; lines with another one are ignored.
    """

    def __init__(self, folder: Path, options_digest: str) -> None:
        self._path, self._digest = folder / FILE, options_digest
        self._rows: dict[str, _Row] = {}
        with contextlib.suppress(FileNotFoundError):
            for line in self._path.read_text("utf-8", errors="replace").splitlines():
                with contextlib.suppress(ValueError, TypeError, KeyError):  # the last line of a killed run may be cut
                    row: _Row = json.loads(line)
                    self._rows[row["file"]] = row

    def find(self, file: Path) -> PhotoRecord | None:
        """The entry of a photograph if file, model and options are unchanged and all its outputs still exist."""
        row = self._rows.get(str(file.resolve()))
        if row is None or row["asked"] != self._digest or row["state"] != _state(file):
            return None
        return row["entry"] if all(Path(path).is_file() for path in row["made"]) else None

    def own(self, file: Path, *, any_options: bool) -> list[str]:
        """The paths of the outputs of a photograph, made with these options or with any."""
        row = self._rows.get(str(file.resolve()))
        return row["made"] if row is not None and (any_options or row["asked"] == self._digest) else []

    def add(self, file: Path, entry: PhotoRecord, written: list[str]) -> None:
        """Store the entry of a photograph. written: paths of all its outputs."""
        row: _Row = {
            "file": str(file.resolve()), "state": _state(file), "asked": self._digest, "made": written, "entry": entry
        }  # fmt: skip
        self._rows[row["file"]] = row
        self._path.parent.mkdir(parents=True, exist_ok=True)
        is_cut = self._path.is_file() and self._path.stat().st_size > 0 and not _ends_with_newline(self._path)
        # A name that is not UTF-8 keeps its odd bytes as escapes of JSON.
        with self._path.open("a", encoding="utf-8", errors="backslashreplace") as ledger:
            ledger.write(("\n" if is_cut else "") + json.dumps(row, ensure_ascii=False) + "\n")


def _state(file: Path) -> list[int]:
    status = file.stat()
    return [status.st_size, status.st_mtime_ns]


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read(1) == b"\n"
