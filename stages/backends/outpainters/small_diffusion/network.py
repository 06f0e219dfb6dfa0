"""The network and the noise schedule of the small out-painter, both diffusers' own classes; all sizes are set here."""

from typing import Any

import torch
from diffusers.models.unets.unet_2d import UNet2DModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor, nn

# Noisy RGB, the photo with its edge pixels repeated outward, and 1 where the photo is.
CHANNELS = 7
# Two halvings: sides of canvases must be whole multiples of this.
MULTIPLE = 4
GROUPS = 8  # of the group normalisation; divides every width
LARGEST = 56  # a wider network has more than 40 MB of weights


def build_unet(size: int, width: int) -> UNet2DModel:
    """A network with ``width``, twice and three times ``width`` channels, and attention at a quarter of the resolution.

    Args:
        size: square root of the pixels that it is trained at; it runs at others, too.
        width: channels of the first level, a multiple of 8, at most ``LARGEST``.
    """
    make: Any = UNet2DModel
    network: UNet2DModel = make(
        sample_size=size,
        in_channels=CHANNELS,
        out_channels=3,
        layers_per_block=2,
        block_out_channels=(width, 2 * width, 3 * width),
        norm_num_groups=GROUPS,
        down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
    )
    return network


def build_scheduler() -> DDIMScheduler:
    """DDIM on a cosine schedule. The network predicts velocity (arXiv 2202.00512, appendix D), which holds at pure noise,
    where painting begins.
    """
    make: Any = DDIMScheduler
    scheduler: DDIMScheduler = make(
        beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction", timestep_spacing="trailing"
    )
    return scheduler


def predict(unet: nn.Module, noisy: Tensor, known: Tensor, mask: Tensor, times: Tensor) -> Tensor:
    """Velocity [B, 3, H, W] from noisy [B, 3, H, W], known [B, 3, H, W] in -1..1, mask [B, 1, H, W] and times [B]."""
    velocity: Tensor = unet(torch.cat([noisy, known, mask], 1), times).sample  # in [B, 7, H, W]
    return velocity
