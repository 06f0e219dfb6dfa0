"""RoIAlign against torchvision's."""

import pytest
import torch
from torchvision.ops import roi_align as reference

from procrop_model.network.roi_align import roi_align


def regions(count, maps, seed=0):
    """Boxes within, across and outside maps [B, C, H, W], some of them empty: [count, 5]."""
    drawn = torch.Generator().manual_seed(seed)
    height, width = maps.shape[2:]
    start = torch.rand(count, 2, generator=drawn) * torch.tensor([width, height]) * 1.6 - 3
    size = torch.rand(count, 2, generator=drawn) * 7
    size[0] = 0
    index = torch.randint(0, len(maps), (count, 1), generator=drawn).float()
    return torch.cat([index, start, start + size], 1)


@pytest.mark.parametrize("samples", [1, 2, 3])
def test_values_and_gradients_are_torchvisions(samples):
    maps = torch.randn(3, 4, 9, 13, generator=torch.Generator().manual_seed(2))  # not square
    rois, grads = regions(40, maps), []
    for align in (
        lambda one: roi_align(one, rois, 5, samples=samples),
        lambda one: reference(one, rois, 5, sampling_ratio=samples, aligned=True),
    ):
        leaf = maps.clone().requires_grad_()
        out = align(leaf)
        assert out.shape == (40, 4, 5, 5)
        (out * torch.arange(5.0)).sum().backward()
        grads.append((out.detach(), leaf.grad))
    for ours, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_no_regions_give_no_regions():
    assert roi_align(torch.randn(1, 2, 5, 5), torch.zeros(0, 5), 3, samples=1).shape == (0, 2, 3, 3)
