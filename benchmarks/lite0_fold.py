"""Processor time of the embedded backbone: with batch norms, with norms folded into the convolutions, and channels-last as well.

Run: ``python -m benchmarks.lite0_fold``. One thread; images of 224 pixels a side, of random values.
"""

import argparse
import copy
import time
from functools import partial

import torch
from torch import nn

from benchmarks.harness import OURS, alternate, finish, result, versions
from procrop_model.network.backbone import Backbone
from procrop_model.network.fold_batchnorm import fold_batchnorms
from procrop_model.network.lite0 import CHANNELS, load_lite0
from procrop_model.network.lite0_layers import Lite0

LEVELS, SIDE = (1, 2, 3), 224


@torch.no_grad()
def cpu_seconds(net: nn.Module, images: torch.Tensor, passes: int) -> float:
    """Processor seconds of one pass, the mean of ``passes``."""
    started = time.process_time()
    for _ in range(passes):
        net(images)
    return (time.process_time() - started) / passes


def main() -> None:
    """Prints one RESULT line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--passes", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(1)
    plain = load_lite0(LEVELS)
    folded = copy.deepcopy(plain)
    assert isinstance(folded, Lite0)
    folded.fold_norms()
    ours = Backbone(copy.deepcopy(plain), [CHANNELS[level] for level in LEVELS], trainable=False)
    fold_batchnorms(ours)
    images = torch.randn(options.batch, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    nets = {OURS: ours.net, "batch norms": plain, "folded, contiguous": folded}
    runs = {name: partial(cpu_seconds, net, images, options.passes) for name, net in nets.items()}
    figures = alternate(runs, options.rounds)
    with torch.no_grad():
        furthest = max(float((a - b).abs().max()) for a, b in zip(ours.net(images), plain(images), strict=True))
    env = {"batch": options.batch, "side": SIDE, "threads": 1, **versions("torch")}
    finish(result("lite0-fold", "CPU s", figures, higher_is_better=False, furthest=furthest, env=env))


if __name__ == "__main__":
    main()
