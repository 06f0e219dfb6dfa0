"""EfficientNet-Lite0 in plain torch, layer by layer, under the parameter names of timm's ``tf_efficientnet_lite0``.

timm's own costs more to import than torch itself, for torchvision comes with it; a command that crops one photograph would wait for
both. Tan and Le, "EfficientNet: rethinking model scaling for convolutional neural networks", 2019; the Lite variants have ReLU6
and neither squeeze-and-excitation nor a scaled stem. Convolutions of stride 2 are padded as TensorFlow's "same".

Notation: [B, C, H, W] is a batch of maps.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STEM = 32
# A stage: blocks, kernel, stride of the first block, expansion, channels.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
LAST_OF_LEVEL = (1, 2, 4, 6)  # the stage that ends a level of stride 4, 8, 16, 32
BN_EPS = 1e-3  # TensorFlow's, with which the weights were trained


class SameConv2d(nn.Conv2d):
    """A convolution without bias, padded so that the output has ceil(size / stride) cells; the odd pixel goes after."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1) -> None:
        padding = (kernel - 1) // 2 if stride == 1 else 0
        super().__init__(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C', ceil(H / stride), ceil(W / stride)]."""
        if self.stride[0] == 1:
            return super().forward(maps)
        padding: list[int] = []
        for size in (maps.shape[3], maps.shape[2]):
            total = max((-(-size // self.stride[0]) - 1) * self.stride[0] + self.kernel_size[0] - size, 0)
            padding += [total // 2, total - total // 2]
        return super().forward(F.pad(maps, padding))

    @torch.no_grad()
    def absorb(self, norm: nn.BatchNorm2d) -> None:
        """Multiply the batch norm that follows into weight and bias; ``norm`` must have statistics and be removed then."""
        assert norm.running_mean is not None and norm.running_var is not None
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        self.weight = nn.Parameter(self.weight * scale[:, None, None, None], requires_grad=False)
        self.bias = nn.Parameter(norm.bias - norm.running_mean * scale, requires_grad=False)


class NormAct(nn.BatchNorm2d):
    """Batch norm, then ReLU6 unless the block is linear there."""

    def __init__(self, channels: int, *, linear: bool = False) -> None:
        super().__init__(channels, eps=BN_EPS)
        self.linear = linear

    def forward(self, maps: Tensor) -> Tensor:
        """[B, C, H, W] -> the same shape."""
        normed = super().forward(maps)
        return normed if self.linear else F.relu6(normed)


class Separable(nn.Module):
    """Depthwise convolution, then a linear 1 x 1; of the first stage."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.conv_dw = SameConv2d(inputs, inputs, kernel, groups=inputs)
        self.bn1 = NormAct(inputs)
        self.conv_pw = SameConv2d(inputs, outputs, 1)
        self.bn2 = NormAct(outputs, linear=True)

    def forward(self, maps: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C', H, W]."""
        mixed: Tensor = self.bn2(self.conv_pw(self.bn1(self.conv_dw(maps))))
        return mixed


class InvertedResidual(nn.Module):
    """Expansion by 1 x 1, depthwise convolution, linear 1 x 1; added to its input where shapes agree."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.conv_pw = SameConv2d(inputs, wide, 1)
        self.bn1 = NormAct(wide)
        self.conv_dw = SameConv2d(wide, wide, kernel, stride=stride, groups=wide)
        self.bn2 = NormAct(wide)
        self.conv_pwl = SameConv2d(wide, outputs, 1)
        self.bn3 = NormAct(outputs, linear=True)
        self._residual = stride == 1 and inputs == outputs

    def forward(self, maps: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C', ceil(H / stride), ceil(W / stride)]."""
        mixed: Tensor = self.bn3(self.conv_pwl(self.bn2(self.conv_dw(self.bn1(self.conv_pw(maps))))))
        return mixed + maps if self._residual else mixed


class Lite0(nn.Module):
    """The network up to the last of ``levels``, indices into strides 4, 8, 16, 32, ascending."""

    def __init__(self, levels: Sequence[int]) -> None:
        super().__init__()
        self.conv_stem = SameConv2d(3, STEM, 3, stride=2)
        self.bn1 = NormAct(STEM)
        self._taken = [LAST_OF_LEVEL[level] for level in levels]
        stages, inputs = [], STEM
        for blocks, kernel, stride, expansion, outputs in STAGES[: self._taken[-1] + 1]:
            stage: list[nn.Module] = []
            for index in range(blocks):
                step = stride if index == 0 else 1
                stage.append(
                    Separable(inputs, outputs, kernel)
                    if expansion == 1
                    else InvertedResidual(inputs, outputs, kernel, stride=step, expansion=expansion)
                )
                inputs = outputs
            stages.append(nn.Sequential(*stage))
        self.blocks = nn.Sequential(*stages)

    def forward(self, images: Tensor) -> list[Tensor]:
        """[B, 3, H, W] -> a map a level, [B, channels, H / stride, W / stride], rounded up."""
        maps, taken = self.bn1(self.conv_stem(images)), []
        for index, stage in enumerate(self.blocks):
            maps = stage(maps)
            if index in self._taken:
                taken.append(maps)
        return taken

    def fold_norms(self) -> bool:
        """Replace each convolution and its batch norm by one convolution, for inference alone; false where that was done before.

        Parameters then have other names, so the network cannot be saved. Maps change by rounding.
        """
        folded = False
        for block in list(self.modules()):
            for (_, convolution), (name, norm) in pairwise(list(block.named_children())):
                if isinstance(convolution, SameConv2d) and isinstance(norm, NormAct):
                    convolution.absorb(norm)
                    setattr(block, name, nn.Identity() if norm.linear else nn.ReLU6(inplace=True))
                    folded = True
        return folded
