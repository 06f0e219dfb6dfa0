"""Frozen batch norms multiplied into the convolutions before them: the same maps in less time, for inference alone."""

import torch
from torch import nn

from procrop_model.network.backbone import Backbone
from procrop_model.network.lite0_layers import Lite0

SIDES = (64, 96)  # of what both are tried on


def fold_batchnorms(backbone: Backbone) -> bool:
    """Fold the batch norms of a backbone in place; whether it could be done. Lite0 also takes the channels-last layout.

    Its tensors then have other names and cannot be saved or trained. A network that cannot be traced, or gives other maps
    when it was, stays as it is; so does one without plain ``BatchNorm2d``. Maps differ by rounding alone.
    """
    net = backbone.net.eval()
    if isinstance(net, Lite0):
        backbone.trainable = False
        net.to(memory_format=torch.channels_last)
        return net.fold_norms()
    if not any(type(module) is nn.BatchNorm2d for module in net.modules()):
        return False
    from torch.fx.experimental.optimization import fuse  # loads a tracer that the embedded network does without

    layout = torch.channels_last if _is_channels_last(net) else torch.contiguous_format
    try:
        folded = fuse(net).to(memory_format=layout)
    except Exception:  # noqa: BLE001 - tracing runs the network's own code on what is not a tensor
        return False
    if not _agree(net, folded):
        return False
    backbone.net, backbone.trainable = folded, False
    return True


@torch.no_grad()
def _agree(net: nn.Module, folded: nn.Module) -> bool:
    where = next(net.parameters()).device
    images = torch.randn(1, 3, *SIDES, generator=torch.Generator().manual_seed(0)).to(where)
    return all(torch.allclose(a, b, rtol=1e-3, atol=1e-3) for a, b in zip(net(images), folded(images), strict=True))


def _is_channels_last(net: nn.Module) -> bool:
    wide = [weight for weight in net.parameters() if weight.dim() == 4 and min(weight.shape[1:]) > 1]
    return bool(wide) and all(weight.is_contiguous(memory_format=torch.channels_last) for weight in wide)
