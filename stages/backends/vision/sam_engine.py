"""Inference with Segment Anything: pooled features, the mask in a box, and all masks of a picture."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from torch import Tensor
from torch.nn import functional

from stages.backends.base.checkpoint_files import locate
from stages.backends.base.devices import halving, in_batches, pick_device
from stages.backends.base.protocols import Floats, Image, Labels
from stages.backends.vision.sam import SamComposerSettings, SamSettings
from stages.backends.vision.sam_model import load_sam

_MEAN, _STD = np.array([123.675, 116.28, 103.53], np.float32), np.array([58.395, 57.12, 57.375], np.float32)
PROMPTS = 64  # points that the mask decoder answers together
OFFSET = 1.0  # of the logits between which a stable mask does not change


class SamEngine:
    """A loaded model. Raises ModelError when it does not load."""

    def __init__(self, settings: SamSettings) -> None:
        self._device, self._dtype, self._batch = (
            pick_device(settings.device),
            getattr(torch, settings.dtype),
            settings.batch,
        )
        self._model = load_sam(locate(settings.model, settings.revision), self._dtype, self._device)

    def pooled(self, images: Sequence[Image], grid: int) -> list[tuple[Floats, Floats]]:
        """(vector [256] of length one, tokens [grid * grid, 256]) of each uint8 image [H, W, 3]."""
        return in_batches(lambda batch: self._pooled(batch, grid), images, self._batch)

    def _pooled(self, images: Sequence[Image], grid: int) -> list[tuple[Floats, Floats]]:
        with torch.inference_mode():
            features = self._embed(images).float()  # [B, 256, 64, 64]
            out = []
            for one, image in zip(features, images, strict=True):
                valid = one[:, : self._cells(image, 0, one.shape[1]), : self._cells(image, 1, one.shape[2])]
                tokens = functional.adaptive_avg_pool2d(valid, grid).flatten(1).T  # [grid * grid, 256]
                vector = functional.normalize(valid.mean(dim=(1, 2)), dim=0)
                out.append((_array(vector), _array(tokens)))
        return out

    def _cells(self, image: Image, axis: int, side: int) -> int:
        """How many cells of the square the picture covers along an axis."""
        cells: int = round(side * image.shape[axis] / max(image.shape[:2]))
        return max(1, cells)

    def mask_in(self, image: Image, box: tuple[int, int, int, int]) -> Floats:
        """The mask [H, W] in 0..1 of what a box in pixels is around, the best of three by SAM's own estimate."""
        scale = self._model.side / max(image.shape[:2])
        with torch.inference_mode():
            (embedding,) = halving(lambda images: [self._embed(images)], [image])
            prompt = torch.tensor([box], dtype=torch.float32, device=self._device) * scale
            masks, quality = self._model.masks(embedding, None, prompt)
            logits = masks[0, int(quality[0].argmax())].float()  # [h, h]
        return self._at_size(torch.sigmoid(logits).cpu().numpy(), image)

    def regions(self, image: Image, settings: SamComposerSettings) -> Labels:
        """The label map [H, W] of a picture."""
        masks, _ = self._all_masks(image, settings)
        labels = np.zeros(masks.shape[1:], np.int32)
        for number, index in enumerate(np.argsort(-masks.sum(axis=(1, 2)), kind="stable"), start=1):
            labels[masks[index]] = number
        size = (image.shape[1], image.shape[0])
        return np.asarray(Pillow.fromarray(labels).resize(size, Pillow.Resampling.NEAREST), np.int32)

    def _all_masks(self, image: Image, settings: SamComposerSettings) -> tuple[NDArray[np.bool_], Floats]:
        """Good, distinct masks [N, h, w] of the picture without its padding, best first, with their estimated IoU [N]."""
        height, width = (side * self._model.side / max(image.shape[:2]) for side in image.shape[:2])
        steps = (np.arange(settings.points) + 0.5) / settings.points
        grid = np.stack(np.meshgrid(steps * width, steps * height), axis=-1).reshape(-1, 2)
        kept, quality = [], []
        with torch.inference_mode():
            (embedding,) = halving(lambda images: [self._embed(images)], [image])
            for start in range(0, len(grid), PROMPTS):
                points = torch.tensor(grid[start : start + PROMPTS], dtype=torch.float32, device=self._device)
                masks, estimates = self._model.masks(embedding, points, None)  # [P, 3, h, h], [P, 3]
                side = masks.shape[-1]
                logits = masks[..., : self._cells(image, 0, side), : self._cells(image, 1, side)].flatten(0, 1).float()
                estimates = estimates.flatten().float()
                good = (estimates >= settings.min_iou) & (stability(logits) >= settings.min_stability)
                good &= (logits > 0).float().mean(dim=(1, 2)) >= max(settings.min_area, 1e-9)
                kept.append((logits[good] > 0).cpu().numpy())
                quality.append(_array(estimates[good]))
        masks_all, quality_all = np.concatenate(kept), np.concatenate(quality)
        chosen = distinct(masks_all, quality_all, settings.max_overlap)
        return masks_all[chosen], quality_all[chosen]

    def _embed(self, images: Sequence[Image]) -> Tensor:
        pixels = torch.stack([self._input(image) for image in images])
        return self._model.embed(pixels.to(self._device, self._dtype))

    def _input(self, image: Image) -> Tensor:
        """uint8 [H, W, 3] -> [3, S, S]: long side S, normalised, padded with zeros at the right and the bottom."""
        side, scale = self._model.side, self._model.side / max(image.shape[:2])
        size = tuple(max(1, min(side, round(length * scale))) for length in (image.shape[1], image.shape[0]))
        small = np.asarray(Pillow.fromarray(image).resize((size[0], size[1]), Pillow.Resampling.BILINEAR), np.float32)
        values = torch.from_numpy((small - _MEAN) / _STD).permute(2, 0, 1)
        return functional.pad(values, (0, side - size[0], 0, side - size[1]))

    def _at_size(self, mask: Floats, image: Image) -> Floats:
        side = mask.shape[0]
        valid = np.ascontiguousarray(mask[: self._cells(image, 0, side), : self._cells(image, 1, side)])
        size = (image.shape[1], image.shape[0])
        whole = Pillow.fromarray(valid).resize(size, Pillow.Resampling.BILINEAR)
        return np.clip(np.asarray(whole, np.float32), 0, 1)


def stability(logits: Tensor) -> Tensor:
    """IoU [N] of each mask [N, h, w] cut above and below zero: 1 for one whose edge is sharp."""
    tight = (logits > OFFSET).sum(dim=(1, 2)).float()
    return tight / (logits > -OFFSET).sum(dim=(1, 2)).clamp(min=1).float()


def distinct(masks: NDArray[np.bool_], quality: Floats, max_overlap: float) -> list[int]:
    """Indices of masks [N, h, w], best first, whose boxes overlap no better one's by more than an IoU of ``max_overlap``."""
    boxes = [_bounds(mask) for mask in masks]
    chosen: list[int] = []
    for index in np.argsort(-quality, kind="stable"):
        if all(_iou(boxes[index], boxes[other]) <= max_overlap for other in chosen):
            chosen.append(int(index))
    return chosen


def _bounds(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _iou(a: Sequence[int], b: Sequence[int]) -> float:
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    inner = max(0, w) * max(0, h)
    return inner / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inner)


def _array(tensor: Tensor) -> Floats:
    return tensor.cpu().numpy().astype(np.float32)
