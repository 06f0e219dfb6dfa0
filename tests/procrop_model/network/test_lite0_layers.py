"""The embedded network against timm's of the same name, which it replaces for speed of import alone."""

import pytest
import timm
import torch
from safetensors.torch import load_file

from procrop_model.network.lite0_files import CHANNELS, STRIDES, weights_path
from procrop_model.network.lite0_layers import Lite0


def pair(levels):
    """Ours and timm's with the bundled weights."""
    state = load_file(str(weights_path()))
    theirs = timm.create_model(
        "tf_efficientnet_lite0", pretrained=False, features_only=True, out_indices=tuple(level + 1 for level in levels)
    )
    ours = Lite0(levels)
    for network in (ours, theirs):
        known = network.state_dict()
        network.load_state_dict({name: state.get(name, value) for name, value in known.items()})
    return ours.eval(), theirs.eval()


@pytest.mark.parametrize("levels", [(0, 1, 2, 3), (1, 2, 3), (3,)])
def test_names_and_maps_are_timms_to_the_bit(levels):
    ours, theirs = pair(levels)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    images = torch.randn(2, 3, 96, 160, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        for level, mine, other in zip(levels, ours(images), theirs(images), strict=True):
            assert mine.shape == (2, CHANNELS[level], 96 // STRIDES[level], 160 // STRIDES[level])
            torch.testing.assert_close(mine, other, rtol=0, atol=0)


def test_odd_sizes_are_padded_as_timms():
    ours, theirs = pair((0, 3))
    images = torch.randn(1, 3, 97, 61, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        for mine, other in zip(ours(images), theirs(images), strict=True):
            torch.testing.assert_close(mine, other, rtol=0, atol=0)


def test_folded_norms_change_maps_by_rounding_alone():
    ours, theirs = pair((1, 2, 3))
    assert ours.fold_norms()
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in ours.modules())
    assert not ours.fold_norms()
    images = torch.randn(2, 3, 96, 160, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        for mine, other in zip(ours(images), theirs(images), strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-4)


def test_it_trains():
    ours, _ = pair((3,))
    (maps,) = ours(torch.randn(1, 3, 64, 96))
    maps.square().mean().backward()
    assert float(ours.conv_stem.weight.grad.abs().sum()) > 0
