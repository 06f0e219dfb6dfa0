"""A section of the page, and what all sections are made from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.core.records import Canvas
from pipeline.report.album import Album, Picture
from pipeline.report.reader import RunReader


@dataclass(frozen=True)
class CanvasPicture:
    """An embedded canvas. photo_box: the photo's own rectangle, (x1, y1, x2, y2) in pixels of the canvas."""

    key: str
    picture: Picture
    photo_box: list[int]


@dataclass(frozen=True)
class Material:
    """What sections are made from.

    Args:
        reader: of the run.
        album: collects the pictures of the page.
        models_dir: holds ``cropper/``.
        crops_dir: holds ``crops.json``.
        work: address of the run directory.
    """

    reader: RunReader
    album: Album
    models_dir: Path
    crops_dir: Path
    work: str

    def command(self, words: str) -> str:
        """A command line for this run directory."""
        return f"procrop-data {words} --work {self.work}"

    def canvas_picture(self, key: str, side: int) -> CanvasPicture | None:
        """Embed a canvas, kept or rejected, and credit its photo; None when its image or row is missing.

        Args:
            key: of the canvas.
            side: longest side in pixels (``pipeline.report.album``).
        """
        data, canvas = self.reader.image("outpaint", key), self.reader.find("outpaint", key, Canvas)
        if data is None or canvas is None:
            return None
        self.album.show(canvas.photo)
        return CanvasPicture(key, self.album.add(key, data, side), canvas.photo_box)


@dataclass(frozen=True)
class Section:
    """One section of the page.

    Args:
        name: its anchor, its template and its key in ``data.json``.
        title: its heading.
        data: the numbers shown, serialisable as JSON.
        view: what only the template needs.
        missing: what is not there yet; the section is then one line.
        command: the command that makes what is missing.
        empty: there is nothing to show, so the page leaves the section out.
    """

    name: str
    title: str
    data: object = None
    view: Mapping[str, object] = field(default_factory=dict)
    missing: str = ""
    command: str = ""
    empty: bool = False
