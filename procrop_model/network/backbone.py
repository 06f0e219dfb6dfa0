"""The backbone and the neck that fuses its levels into one map of stride 16."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from pipeline.core.errors import ModelError
from procrop_model.network.lite0 import CHANNELS, load_lite0
from procrop_model.network.lite0 import STRIDES as LITE0_STRIDES
from procrop_model.network.reference_matching import own_cells

Levels = tuple[Tensor, ...]
STRIDES = (8, 16, 32)


@dataclass(frozen=True)
class Features:
    """Image features of a batch.

    Args:
        grid: [B, D, H, W], zero on padding.
        valid: bool [B, H, W], true on the image, false on padding.
        pooled: [B, C], the L2-normalised mean of the last backbone level: the retrieval vector when the backbone is the encoder.
        own: [B, H W, C], the last backbone level at each cell of the grid, L2-normalised; None for a fusion without matching.
    """

    grid: Tensor
    valid: Tensor
    pooled: Tensor
    own: Tensor | None = None


class Backbone(nn.Module):
    """A timm feature pyramid with frozen batch norms."""

    def __init__(
        self, net: nn.Module, channels: Sequence[int], trainable: bool, *, fixed: tuple[str, ...] = ()
    ) -> None:
        """
        Args:
            net: gives one map per level.
            channels: of each level.
            trainable: whether its weights learn; batch norms never do.
            fixed: prefixes of parameter names that never learn.
        """
        super().__init__()
        self.net = net
        self.channels = tuple(channels)
        self.trainable = trainable
        self.requires_grad_(trainable)
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.requires_grad_(False)
        for name, parameter in net.named_parameters():
            if name.startswith(fixed):
                parameter.requires_grad_(False)

    def train(self, mode: bool = True) -> "Backbone":
        """Stays in eval mode: batch statistics of a dozen canvases are worse than the pre-trained ones."""
        return super().train(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """[B, 3, h, w] -> one map per level, [B, channels[l], h / stride, w / stride]."""
        with torch.set_grad_enabled(self.trainable and torch.is_grad_enabled()):
            return cast(list[Tensor], self.net(images))


def load_backbone(
    name: str, trainable: bool, *, strides: Sequence[int] = STRIDES, fixed: tuple[str, ...] = ()
) -> Backbone:
    """Lite0 with its bundled weights, or a timm network without weights (they come with the saved model).

    Its maps have the given strides. Raises ModelError when timm has no such network, or none with such maps.
    """
    if name == "lite0":
        chosen = [LITE0_STRIDES.index(stride) for stride in strides]
        return Backbone(load_lite0(chosen), [CHANNELS[level] for level in chosen], trainable, fixed=fixed)
    try:
        import timm  # takes as long as torch itself to import, and the embedded network does without
    except ImportError as error:
        raise ModelError(f"the backbone '{name}' needs the package timm: pip install 'procrop-data[models]'") from error
    try:
        net: Any = timm.create_model(name, pretrained=False, features_only=True)
        known = net.feature_info.reduction()
        levels = tuple(known.index(stride) for stride in strides)
        net = timm.create_model(name, pretrained=False, features_only=True, out_indices=levels)
    except (RuntimeError, ValueError) as error:
        raise ModelError(f"timm has no network '{name}' with maps of strides {tuple(strides)}: {error}") from error
    return Backbone(net, net.feature_info.channels(), trainable, fixed=fixed)


class Neck(nn.Module):
    """Fuses strides 8, 16 and 32 into one map of stride 16.

    Each level is normalised over its channels; stride 8 is folded 2 x 2, stride 32 is interpolated.
    """

    def __init__(self, channels: Sequence[int], dim: int) -> None:
        super().__init__()
        fine, middle, coarse = channels
        self.norms = nn.ModuleList(nn.LayerNorm(c) for c in channels)
        self.fine = nn.Conv2d(fine, dim, 2, stride=2)
        self.middle = nn.Conv2d(middle, dim, 1)
        self.coarse = nn.Conv2d(coarse, dim, 1)
        self.out = nn.LayerNorm(dim)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Maps of stride 8, 16, 32 [B, C_l, H_l, W_l] -> [B, D, H, W] of stride 16."""
        fine, middle, coarse = (_over_channels(norm, level) for norm, level in zip(self.norms, levels, strict=True))
        raised = nn.functional.interpolate(self.coarse(coarse), size=middle.shape[-2:], mode="bilinear")
        return _over_channels(self.out, self.fine(fine) + self.middle(middle) + raised)


class Extractor(nn.Module):
    """Backbone and neck over images of any sizes.

    Images of one size go through the backbone together and are padded only afterwards, so that padding cannot enter a
    convolution.
    """

    def __init__(
        self, backbone: Backbone, neck: nn.Module, *, canvas: int = 0, padded: int = 0, tells_own: bool = False
    ) -> None:
        """
        Args:
            backbone: gives one map per level.
            neck: maps of all levels -> one map of D channels.
            canvas: cells a side to which maps are padded; 0 for the size of the largest image of the batch.
            padded: pixels a side to which images are padded before the backbone, as published; 0 for no padding.
            tells_own: whether ``Features.own`` is computed.
        """
        super().__init__()
        self.backbone = backbone
        self.neck = neck
        self.canvas = canvas
        self.padded = padded
        self.tells_own = tells_own

    def forward(self, images: Sequence[Tensor]) -> Features:
        """B images [3, h, w], sides multiples of 32 -> Features."""
        return self.fuse(self.levels(images))

    def levels(self, images: Sequence[Tensor]) -> list[Levels]:
        """The backbone's maps [C_l, h / stride, w / stride] of each image."""
        levels: list[Levels] = [()] * len(images)
        filled = [_filled(image, self.padded) for image in images] if self.padded else images
        for members in _by_shape(filled):
            maps = self.backbone(torch.stack([filled[i] for i in members]))
            for row, position in enumerate(members):
                levels[position] = tuple(_within(level[row], images[position], filled[position]) for level in maps)
        return levels

    def fuse(self, levels: Sequence[Levels]) -> Features:
        """Features of B images from their backbone maps."""
        grids: list[Tensor] = [levels[0][0]] * len(levels)
        for members in _by_shape([maps[0] for maps in levels]):
            stacked = [torch.stack(maps) for maps in zip(*(levels[i] for i in members), strict=True)]
            for position, grid in zip(members, self.neck(stacked), strict=True):
                grids[position] = grid
        pooled = torch.stack([maps[-1].flatten(1).mean(1) for maps in levels])
        grid, valid = pad_maps(grids, self.canvas)
        own = None
        if self.tells_own:
            cells = [own_cells(maps[-1][None], *g.shape[-2:])[0] for maps, g in zip(levels, grids, strict=True)]
            own = pad_maps(cells, self.canvas)[0].flatten(2).transpose(1, 2)  # [B, H W, C]
        return Features(grid, valid, nn.functional.normalize(pooled, dim=1), own)


def pad_maps(maps: Sequence[Tensor], side: int = 0) -> tuple[Tensor, Tensor]:
    """B maps [D, h, w] -> [B, D, H, W], zero on the right and below, and the bool mask of what is valid [B, H, W].

    H and W are ``side``, or where that is 0 those of the largest map. Raises ModelError for a map beyond ``side``.
    """
    height, width = max(m.shape[1] for m in maps), max(m.shape[2] for m in maps)
    if side and max(height, width) > side:
        raise ModelError(f"this model's canvas is {side} x {side} cells, and an image has {height} x {width}")
    height, width = side or height, side or width
    padded = [nn.functional.pad(m, (0, width - m.shape[2], 0, height - m.shape[1])) for m in maps]
    valid = torch.zeros(len(maps), height, width, dtype=torch.bool, device=maps[0].device)
    for row, m in enumerate(maps):
        valid[row, : m.shape[1], : m.shape[2]] = True
    return torch.stack(padded), valid


def _filled(image: Tensor, side: int) -> Tensor:
    height, width = image.shape[1:]
    if max(height, width) > side:
        raise ModelError(f"this model's canvas is {side} x {side} pixels, and an image has {height} x {width}")
    return nn.functional.pad(image, (0, side - width, 0, side - height))


def _within(level: Tensor, image: Tensor, filled: Tensor) -> Tensor:
    """The part of a map that lies on the image, not on its padding."""
    rows = level.shape[1] * image.shape[1] // filled.shape[1]
    columns = level.shape[2] * image.shape[2] // filled.shape[2]
    return level[:, :rows, :columns]


def _over_channels(norm: nn.Module, grid: Tensor) -> Tensor:
    return cast(Tensor, norm(grid.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))


def _by_shape(tensors: Sequence[Tensor]) -> list[list[int]]:
    groups: dict[tuple[int, ...], list[int]] = {}
    for position, tensor in enumerate(tensors):
        groups.setdefault(tuple(tensor.shape), []).append(position)
    return list(groups.values())
