"""Frozen batch norms multiplied into the convolutions before them: the same maps in less time, for inference alone."""

import torch
from torch import nn
from torch.fx.experimental.optimization import fuse
from torch.fx.proxy import TraceError

from procrop_model.backbone import Backbone


def fold_norms(backbone: Backbone) -> bool:
    """Fold the batch norms of a backbone in place; whether it could be done.

    Its tensors then have other names and cannot be saved or trained. A network whose path depends on its input, and one
    whose norms are not plain ``BatchNorm2d``, stays as it is. Maps differ by rounding alone.
    """
    if not any(type(module) is nn.BatchNorm2d for module in backbone.net.modules()):
        return False
    layout = torch.channels_last if _is_channels_last(backbone.net) else torch.contiguous_format
    try:
        net = fuse(backbone.net.eval())
    except TraceError:
        return False
    backbone.net = net.to(memory_format=layout)
    backbone.trainable = False
    return True


def _is_channels_last(net: nn.Module) -> bool:
    wide = [weight for weight in net.parameters() if weight.dim() == 4 and min(weight.shape[1:]) > 1]
    return bool(wide) and all(weight.is_contiguous(memory_format=torch.channels_last) for weight in wide)
