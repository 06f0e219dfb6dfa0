"""Cheap stand-ins for the models, real enough to exercise the pipeline: deterministic, picklable, a digest each."""

import os
import time
from dataclasses import dataclass

import numpy as np

from stages.backends.base.protocols import Encoded


@dataclass
class FakeOutpainter:
    """Edge pixels stretched outward, with seeded noise so that two variants differ."""

    seconds: float = 0.0
    name: str = "fake-outpainter"
    licence: str = "MIT"
    digest: str = "paint0001"

    def paint(self, requests):
        out = []
        for request in requests:
            time.sleep(self.seconds)
            width, height = request.size
            x1, y1, x2, y2 = request.box_px
            pad = ((y1, height - y2), (x1, width - x2), (0, 0))
            noise = np.random.default_rng(request.seed).integers(-20, 20, (height, width, 3))
            out.append(np.clip(np.pad(request.photo, pad, mode="edge").astype(int) + noise, 0, 255).astype(np.uint8))
        return out


@dataclass
class TroubledOutpainter(FakeOutpainter):
    """While ``flag`` exists, a third of the samples fail, or the process dies (``deadly``)."""

    flag: str = ""
    deadly: bool = False
    share: int = 3

    def paint(self, requests):
        if os.path.exists(self.flag) and any(request.seed % self.share == 0 for request in requests):
            if self.deadly:
                os._exit(137)
            raise ValueError("the model returned nothing")
        return super().paint(requests)


@dataclass
class FakeSegmenter:
    """The subject is the middle of every picture."""

    name: str = "fake-segmenter"
    licence: str = "MIT"
    digest: str = "segment01"

    def segment(self, images):
        masks = []
        for image in images:
            mask = np.zeros(image.shape[:2], np.float32)
            h, w = mask.shape
            mask[h * 2 // 5 : h * 3 // 5, w * 2 // 5 : w * 3 // 5] = 1
            masks.append(mask)
        return masks

    def network_masks(self, images):
        return self.segment(images)


@dataclass
class FakeFaces:
    """A face in the middle of every picture, and one in the corner of each whose bytes sum to a multiple of ``share``."""

    share: int = 3
    name: str = "fake-faces"
    licence: str = "MIT"
    digest: str = "faces0001"

    def detect(self, images):
        middle, corner = [0.44, 0.42, 0.56, 0.54, 0.9], [0.0, 0.0, 0.08, 0.08, 0.7]
        found = [[middle, corner] if int(image.sum()) % self.share == 0 else [middle] for image in images]
        return [np.array(rows, np.float32) for rows in found]


@dataclass
class FakeScorer:
    """Prefers boxes that are close to the middle and to two thirds of the picture's area."""

    name: str = "fake-scorer"
    licence: str = "MIT"
    digest: str = "score0001"

    def score(self, pictures, boxes):
        out = []
        for picture, found in zip(pictures, boxes, strict=True):
            w, h = picture.size
            box = np.asarray(found, np.float32).reshape(-1, 4)
            share = (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1]) / (w * h)
            off = np.abs((box[:, 0] + box[:, 2]) / 2 / w - 0.5) + np.abs((box[:, 1] + box[:, 3]) / 2 / h - 0.5)
            out.append((10 - 6 * np.abs(share - 0.66) - 4 * off).astype(np.float32))
        return out


@dataclass
class FakeEncoder:
    """Mean colours of a 2 x 2 grid, about grey: unlike pictures are far apart, so that few pairs are compared in detail."""

    name: str = "fake-encoder"
    licence: str = "MIT"
    digest: str = "encode001"

    def encode(self, images):
        out = []
        for image in images:
            h, w = image.shape[0] // 2, image.shape[1] // 2
            cells = [image[:h, :w], image[:h, w:], image[h:, :w], image[h:, w:]]
            tokens = np.stack([cell.reshape(-1, 3).mean(0) for cell in cells]).astype(np.float32) / 255
            vector = tokens.ravel() - 0.5 + 1e-4
            out.append(Encoded(vector / np.linalg.norm(vector), tokens, (2, 2)))
        return out
