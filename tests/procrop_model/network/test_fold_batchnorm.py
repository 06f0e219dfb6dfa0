"""Folded batch norms give the maps of the unfolded, keep the layout, and leave alone what they cannot fold."""

import pytest
import torch
from torch import nn

from procrop_model.network.backbone import Backbone, load_backbone
from procrop_model.network.fold_batchnorm import fold_batchnorms


def norms(backbone: Backbone) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in backbone.net.modules())


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_a_folded_resnet_gives_the_same_maps_without_norms(layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    backbone = load_backbone("resnet18", trainable=False).to(memory_format=layout).eval()
    for module in backbone.net.modules():
        if isinstance(module, nn.BatchNorm2d):  # as after training, not as at birth
            for values in (module.weight.data, module.running_var):
                values.uniform_(0.5, 1.5)
            for values in (module.bias.data, module.running_mean):
                values.normal_(0, 0.1)
    images = torch.randn(2, 3, 64, 96)
    before = backbone(images)
    assert norms(backbone) == 20
    assert fold_batchnorms(backbone)
    assert norms(backbone) == 0
    for ours, theirs in zip(backbone(images), before, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
        assert ours.is_contiguous(memory_format=layout)
    assert not fold_batchnorms(backbone)


def test_norms_with_activations_give_the_same_maps() -> None:
    torch.manual_seed(0)
    backbone = load_backbone("mobilenetv3_small_050", trainable=False).eval()
    images = torch.randn(1, 3, 64, 64)
    before = backbone(images)
    fold_batchnorms(backbone)
    for ours, theirs in zip(backbone(images), before, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_the_embedded_network_folds_itself() -> None:
    backbone = load_backbone("lite0", trainable=True).eval()
    images = torch.randn(2, 3, 64, 96)
    before = backbone(images)
    assert fold_batchnorms(backbone) and not backbone.trainable
    assert norms(backbone) == 0
    for ours, theirs in zip(backbone(images), before, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_a_network_without_plain_norms_is_left_alone() -> None:
    backbone = load_backbone("convnext_atto", trainable=False).eval()
    net, state = backbone.net, list(backbone.net.state_dict())
    assert not fold_batchnorms(backbone)
    assert backbone.net is net and list(net.state_dict()) == state


class Fickle(nn.Module):
    """Looks at what it is given: a trace would follow one path for ever."""

    def __init__(self, looks: str) -> None:
        super().__init__()
        self.looks, self.conv, self.norm = looks, nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        maps = self.norm(self.conv(images))
        if self.looks == "bool" and images.mean() > 0:
            return [maps + 1]
        if self.looks == "type":  # another path for a proxy
            return [maps if isinstance(images, torch.Tensor) else maps + 1]
        return [maps]


@pytest.mark.parametrize("looks", ["bool", "type", ""])
def test_a_network_that_does_not_trace_to_itself_stays(looks: str) -> None:
    net = Fickle(looks).eval()
    backbone = Backbone(net, [4], trainable=False)
    assert fold_batchnorms(backbone) == (looks == "")
    assert (backbone.net is net) == (looks != "")
