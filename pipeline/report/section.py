"""A part of the page, and what all parts are made from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.report.album import Album
from pipeline.report.reader import RunReader


@dataclass(frozen=True)
class Material:
    """What sections read. models_dir holds ``cropper/``, crops_dir ``crops.json``; work: the run's address."""

    reader: RunReader
    album: Album
    models_dir: Path
    crops_dir: Path
    work: str

    def command(self, words: str) -> str:
        """A command line for this run directory."""
        return f"procrop-data {words} --work {self.work}"


@dataclass(frozen=True)
class Section:
    """name: its anchor, template and key in ``data.json``. data: the numbers shown. view: what only the template needs.

    missing: what is not there yet, and command: what makes it; then the section is one line.
    """

    name: str
    title: str
    data: Any = None
    view: Mapping[str, Any] = field(default_factory=dict)
    missing: str = ""
    command: str = ""
