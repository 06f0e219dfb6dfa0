"""The embedded face detector: two BlazeFace networks through onnxruntime on one CPU thread.

A finder (256 px network, run at two sizes of the picture) proposes boxes, and a checker (192 px network) looks at each of them in
the same framing. Neither is reliable alone: the finder sees faces in foliage, the checker misses small faces. Their scores
multiplied order 108 photographs with plain faces before 216 without any in 0.9995 of all pairs (``benchmarks/face_pool.py``).
Weights: ``assets/models/faces``.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as state
from PIL import Image as Pillow

from pipeline.core.errors import ModelError
from pipeline.core.resources import bundled, file_digest
from procrop_model.faces.decode import (
    SAME_FACE,
    Floats,
    anchor_centres,
    decode_boxes,
    merge_overlapping,
    overlap_with,
    probabilities,
)

Pixels = NDArray[np.uint8]
VERSION = 1
SIDES = (192, 448)  # long sides at which the finder sees a picture: faces as large as the frame, and small ones
STEP = 32  # sides of a network's input are multiples of its coarsest stride
FINDER_LAYERS = ((16, 2), (32, 6))
CHECKER_LAYERS = ((4, 1),)
CANDIDATE = 0.5  # least score of the finder
CHECKED = 32  # candidates checked at most, best first: a crowd has no end, and none of its faces alone decides a crop
CHECK_SIDE = 128
CHECK_FRAME = 2.0  # side of the square that the checker sees, in sides of the face
FACE = 0.5  # least geometric mean of both scores
_LOAD_ERRORS = (state.Fail, state.InvalidGraph, state.InvalidProtobuf, state.NoSuchFile, state.NotImplemented)


def faces_folder() -> Path:
    """The folder of the bundled weights."""
    return bundled("assets") / "models" / "faces"


class FaceDetector:
    """Finds human faces. Each image is run alone, so its faces do not depend on its batch.

    Args:
        folder: with ``finder.onnx`` and ``checker.onnx``; by default the bundled one.
        sides: long sides in pixels at which the finder sees an image; fewer are faster and miss small or very large faces.
            An image is never enlarged by more than a side asks for, and the same size is run once.
    """

    name = "blazeface"
    licence = "Apache-2.0"

    def __init__(self, folder: Path | None = None, *, sides: Sequence[int] = SIDES) -> None:
        self.folder = folder or faces_folder()
        self.sides = tuple(sides)
        self._sessions: dict[str, ort.InferenceSession] = {}

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_sessions": {}}

    @property
    def digest(self) -> str:
        """Digest of the weights, the sides and the code version; raises ModelError when a file is missing."""
        try:
            weights = [file_digest(str(self.folder / f"{name}.onnx"))[:8] for name in ("finder", "checker")]
        except OSError as error:
            raise ModelError(f"no face detector in {self.folder}: restore assets/models/faces") from error
        return "-".join(["blazeface", f"v{VERSION}", *map(str, self.sides), *weights])

    def detect(self, images: Sequence[Pixels]) -> list[Floats]:
        """Faces of uint8 images [H, W, 3], best first: float32 [N, 5], xyxy in 0..1 of the image, and a score in 0..1.

        Raises ModelError when no weights load.
        """
        return [self.faces_of(image) for image in images]

    def faces_of(self, image: Pixels) -> Floats:
        """Faces of one image, as ``detect`` gives them."""
        boxes, scores = self._candidates(image)
        if not len(boxes):
            return np.zeros((0, 5), np.float32)
        checks, refined = self._check(image, boxes)
        both = np.sqrt(scores * checks)
        sure = both >= FACE
        merged, kept = merge_overlapping(refined[sure], both[sure])
        return np.concatenate([np.clip(merged, 0, 1), kept[:, None]], axis=1)

    def _candidates(self, image: Pixels) -> tuple[Floats, Floats]:
        """Boxes [M, 4] in 0..1 and scores [M] of the finder, at most CHECKED, best first."""
        boxes, scores = [], []
        for side in self.sides:
            pixels, size = _letterboxed(image, side)
            found, score = self._run("finder", pixels[None], FINDER_LAYERS)
            sure = score[0] >= CANDIDATE
            boxes.append(found[0][sure] / np.array([*size, *size], np.float32))
            scores.append(score[0][sure])
        merged, kept = merge_overlapping(np.concatenate(boxes), np.concatenate(scores))
        shown = (np.clip(merged, 0, 1)[:, 2:] > np.clip(merged, 0, 1)[:, :2]).all(axis=1)
        return merged[shown][:CHECKED], kept[shown][:CHECKED]

    def _check(self, image: Pixels, boxes: Floats) -> tuple[Floats, Floats]:
        """The checker's score [M] for each box [M, 4] in 0..1, and the mean of the box and the checker's own, [M, 4] in 0..1."""
        size = np.array([image.shape[1], image.shape[0]] * 2, np.float32)
        frames = [_frame(box * size) for box in boxes]  # squares in pixels
        inputs = np.stack([_cut(image, frame) for frame in frames])  # [M, 3, CHECK_SIDE, CHECK_SIDE]
        found, scores = self._run("checker", inputs, CHECKER_LAYERS)
        checks, refined = np.zeros(len(boxes), np.float32), boxes.copy()
        for row, frame in enumerate(frames):
            scale = (frame[2] - frame[0]) / CHECK_SIDE
            placed = (found[row] * scale + np.tile(frame[:2], 2)) / size
            score = np.where(overlap_with(boxes[row], placed) > SAME_FACE, scores[row], 0)
            checks[row] = score.max()
            refined[row] = (boxes[row] + placed[score.argmax()]) / 2 if checks[row] > 0 else boxes[row]
        return checks, refined

    def _run(self, name: str, inputs: Floats, layers: tuple[tuple[int, int], ...]) -> tuple[Floats, Floats]:
        """Boxes [B, A, 4] in pixels of the inputs [B, 3, h, w] in -1..1, and scores [B, A] in 0..1."""
        regressors, logits = self._session(name).run(["regressors", "logits"], {"picture": inputs})
        centres = anchor_centres(inputs.shape[2], inputs.shape[3], layers)
        boxes = np.stack([decode_boxes(rows, centres) for rows in regressors])
        return boxes, probabilities(logits[:, :, 0])

    def _session(self, name: str) -> ort.InferenceSession:
        if name not in self._sessions:
            options = ort.SessionOptions()
            options.intra_op_num_threads = 1
            options.inter_op_num_threads = 1
            path = self.folder / f"{name}.onnx"
            try:
                self._sessions[name] = ort.InferenceSession(
                    str(path), sess_options=options, providers=["CPUExecutionProvider"]
                )
            except _LOAD_ERRORS as error:
                raise ModelError(f"face detector weights {path} do not load ({error}): restore the file") from error
        return self._sessions[name]


@cache
def bundled_detector() -> FaceDetector:
    """The detector with the bundled weights, one for all callers; they load with the first image."""
    return FaceDetector()


def _letterboxed(image: Pixels, side: int) -> tuple[Floats, tuple[int, int]]:
    """[3, h, w] in -1..1 with the image, scaled to a long side of ``side``, at the top left of black; and its (width, height)."""
    height, width = image.shape[:2]
    scale = side / max(width, height)
    w, h = max(1, round(width * scale)), max(1, round(height * scale))
    small = Pillow.fromarray(image).resize((w, h), Pillow.Resampling.BILINEAR, reducing_gap=2.0)
    padded = np.full((-(-h // STEP) * STEP, -(-w // STEP) * STEP, 3), -1, np.float32)
    padded[:h, :w] = np.asarray(small, np.float32) / 127.5 - 1
    return np.ascontiguousarray(padded.transpose(2, 0, 1)), (w, h)


def _frame(box: Floats) -> Floats:
    """The square [4] in pixels around a box [4], CHECK_FRAME times as large."""
    middle, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]).max() * CHECK_FRAME / 2
    return np.round(np.concatenate([middle - half, middle + half])).astype(np.float32)


def _cut(image: Pixels, frame: Floats) -> Floats:
    """[3, CHECK_SIDE, CHECK_SIDE] in -1..1 of a square in pixels; black outside the image."""
    x1, y1, x2, y2 = (int(v) for v in frame)
    cut = Pillow.fromarray(image).crop((x1, y1, max(x2, x1 + 1), max(y2, y1 + 1)))
    small = cut.resize((CHECK_SIDE, CHECK_SIDE), Pillow.Resampling.BILINEAR, reducing_gap=2.0)
    return np.ascontiguousarray((np.asarray(small, np.float32) / 127.5 - 1).transpose(2, 0, 1), np.float32)
