"""Ways to fill a border that need no learning: reflection, Telea's method and shift-map, each on one thread.

The last two are OpenCV's (``cv2.inpaint``, ``cv2.xphoto.inpaint``): optional, and reported as absent where they are not
installed. ``pip install opencv-contrib-python-headless`` brings both.
"""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec

import numpy as np

from stages.backends.base.protocols import Image, PaintRequest

Fill = Callable[[PaintRequest], Image]
TELEA_RADIUS = 5


def reflection(request: PaintRequest) -> Image:
    """The photo mirrored at its edges, as often as it takes."""
    x1, y1, x2, y2 = request.box_px
    width, height = request.size
    out: Image = np.pad(request.photo, ((y1, height - y2), (x1, width - x2), (0, 0)), mode="symmetric")
    return out


def peers() -> tuple[dict[str, Fill], list[str]]:
    """The peers that can run here, and the names of those that cannot."""
    fills: dict[str, Fill] = {"reflection": reflection}
    if find_spec("cv2") is None:
        return fills, ["telea", "shift-map"]
    cv2 = import_module("cv2")
    cv2.setNumThreads(1)

    def telea(request: PaintRequest) -> Image:
        canvas, hidden = _placed(request)
        out: Image = cv2.inpaint(canvas, hidden, TELEA_RADIUS, cv2.INPAINT_TELEA)
        return out

    def shift_map(request: PaintRequest) -> Image:
        canvas, hidden = _placed(request)
        lab, out = cv2.cvtColor(canvas, cv2.COLOR_RGB2Lab), np.zeros_like(canvas)
        cv2.xphoto.inpaint(lab, 255 - hidden, out, cv2.xphoto.INPAINT_SHIFTMAP)
        painted = cv2.cvtColor(out, cv2.COLOR_Lab2RGB)
        # It leaves some corners unfilled, as zeros.
        left: Image = cv2.inpaint(painted, (out == 0).all(2).astype(np.uint8) * 255, TELEA_RADIUS, cv2.INPAINT_TELEA)
        return left

    fills["telea"] = telea
    if not hasattr(cv2, "xphoto"):
        return fills, ["shift-map"]
    fills["shift-map"] = shift_map
    return fills, []


def _placed(request: PaintRequest) -> tuple[Image, Image]:
    """The photo in its place on black, and 255 where there is nothing yet [H, W]."""
    x1, y1, x2, y2 = request.box_px
    canvas = np.zeros((request.size[1], request.size[0], 3), np.uint8)
    canvas[y1:y2, x1:x2] = request.photo
    hidden = np.full(canvas.shape[:2], 255, np.uint8)
    hidden[y1:y2, x1:x2] = 0
    return canvas, hidden


def pasted(canvas: Image, request: PaintRequest) -> Image:
    """The canvas with the photo's own pixels over its rectangle, so that all contenders give the same inside."""
    x1, y1, x2, y2 = request.box_px
    out = canvas.copy()
    out[y1:y2, x1:x2] = request.photo
    return out
