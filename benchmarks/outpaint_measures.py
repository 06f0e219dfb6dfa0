"""How far a painted border is from the true one: features of Lite0, colour and gradient at the seam.

All are distances: 0 where the paint is the truth, and lower is better.
"""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image as Pillow
from torch import Tensor

from benchmarks.outpaint_cases import Case
from pipeline.core.geometry import BoxPx
from procrop_model.network.lite0 import load_lite0, to_input
from stages.backends.base.protocols import Image

ENLARGED = 384  # long side at which features are taken: at 192 px the deepest level would have but six tokens across
LEAST_HIDDEN = 0.5


@dataclass(frozen=True)
class Features:
    """Standardised feature maps of one image, shallow to deep, each [C, h, w]."""

    maps: tuple[Tensor, ...]


class FeatureDistance:
    """Distances between two images of the same size over the tokens that are mostly hidden.

    Channels are standardised by what they do on the true photographs.
    """

    def __init__(self, cases: list[Case]) -> None:
        self._net = load_lite0()
        photos = {case.photo: case.truth for case in cases}.values()
        seen = [self._raw(photo) for photo in photos]
        self._scale = []
        for level in range(len(seen[0])):
            tokens = torch.cat([maps[level].flatten(1) for maps in seen], 1)  # [C, T]
            self._scale.append((tokens.mean(1)[:, None, None], tokens.std(1).clamp_min(1e-6)[:, None, None]))

    def of(self, image: Image) -> Features:
        """The features of uint8 [H, W, 3]."""
        maps = zip(self._raw(image), self._scale, strict=True)
        return Features(tuple((raw - mean) / spread for raw, (mean, spread) in maps))

    def paired(self, first: Features, second: Features, hidden: "np.ndarray") -> float:
        """Token against token at the same place, each of length one (the form of LPIPS), mean over the four levels."""
        return float(np.mean([self._paired(a, b, hidden) for a, b in zip(first.maps, second.maps, strict=True)]))

    def texture(self, first: Features, second: Features, hidden: "np.ndarray") -> float:
        """Mean and spread of every channel over the hidden tokens, wherever they lie: what the border is made of."""
        return float(np.mean([self._texture(a, b, hidden) for a, b in zip(first.maps, second.maps, strict=True)]))

    def _paired(self, a: Tensor, b: Tensor, hidden: "np.ndarray") -> float:
        mask = _tokens(hidden, a)
        a, b = (torch.nn.functional.normalize(x, dim=0)[:, mask] for x in (a, b))  # [C, T]
        return float((a - b).square().sum(0).mean())

    def _texture(self, a: Tensor, b: Tensor, hidden: "np.ndarray") -> float:
        mask = _tokens(hidden, a)
        a, b = a[:, mask], b[:, mask]
        gap = (a.mean(1) - b.mean(1)).square() + (a.std(1, correction=0) - b.std(1, correction=0)).square()
        return float(gap.mean().sqrt())

    def _raw(self, image: Image) -> list[Tensor]:
        scale = ENLARGED / max(image.shape[:2])
        height, width = (max(32, round(n * scale / 32) * 32) for n in image.shape[:2])
        large = np.asarray(Pillow.fromarray(image).resize((width, height), Pillow.Resampling.BICUBIC))
        with torch.inference_mode():
            maps: list[Tensor] = [level[0].clone() for level in self._net(to_input(large)[None])]
        return maps


def _tokens(hidden: "np.ndarray", like: Tensor) -> Tensor:
    """Tokens [h, w] of which at least ``LEAST_HIDDEN`` is hidden; the most hidden ones where none is."""
    share = torch.tensor(hidden, dtype=torch.float32)[None, None]
    share = torch.nn.functional.interpolate(share, size=tuple(like.shape[1:]), mode="area")[0, 0]
    return share >= min(LEAST_HIDDEN, float(share.max()))


def strips(image: Image, box: BoxPx, reach: int) -> list["np.ndarray"]:
    """Along each side of the frame that has ``reach`` pixels on both sides of it: float [length, 2 * reach, 3].

    The photo comes first: columns ``reach - 1`` and ``reach`` are the two beside the frame.
    """
    x1, y1, x2, y2 = box
    height, width = image.shape[:2]
    pixels = image.astype(np.float32)
    across = pixels.transpose(1, 0, 2)
    out = []
    if min(y1, y2 - y1) >= reach:
        out.append(across[x1:x2, y1 - reach : y1 + reach][:, ::-1])
    if min(height - y2, y2 - y1) >= reach:
        out.append(across[x1:x2, y2 - reach : y2 + reach])
    if min(x1, x2 - x1) >= reach:
        out.append(pixels[y1:y2, x1 - reach : x1 + reach][:, ::-1])
    if min(width - x2, x2 - x1) >= reach:
        out.append(pixels[y1:y2, x2 - reach : x2 + reach])
    return out


def seam(canvas: Image, truth: Image, box: BoxPx) -> tuple[float, float]:
    """Colour and gradient: how much the mean jump, and the mean change of slope, across the frame differ from the true.

    In levels of 255. Too smooth a seam counts as much as too rough a one.
    """
    painted, true = (strips(image, box, 4) for image in (canvas, truth))
    if not painted:
        return 0.0, 0.0
    gaps = [(_jump(a) - _jump(b), _bend(a) - _bend(b)) for a, b in zip(painted, true, strict=True)]
    colour, gradient = np.abs(gaps).mean(0)
    return float(colour), float(gradient)


def _jump(strip: "np.ndarray") -> float:
    return float(np.abs(strip[:, 4] - strip[:, 3]).mean())


def _bend(strip: "np.ndarray") -> float:
    slopes = np.diff(strip[:, 2:6], axis=1)  # [length, 3, 3]
    return float(np.abs(np.diff(slopes, axis=1)).mean())
