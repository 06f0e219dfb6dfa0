"""A trained folder as a pipeline that is checked: every weight of it came from the file."""

from pathlib import Path
from typing import Any

import diffusers
from safetensors.torch import load_file

from pipeline.core.errors import ModelError
from stages.backends.base.checkpoint_files import loading, read_config
from stages.backends.outpainters.small_diffusion.network import CHANNELS
from stages.backends.outpainters.small_diffusion.pipeline import SmallInpaintPipeline

INDEX, UNET, SCHEDULER = "model_index.json", "unet", "scheduler"
WEIGHTS = "diffusion_pytorch_model.safetensors"


def load(folder: Path, device: str) -> SmallInpaintPipeline:
    """The pipeline in inference mode. Raises ModelError for a folder that is missing parts, damaged or of another kind."""
    found = read_config(folder, INDEX).get("_class_name")
    if found != SmallInpaintPipeline.__name__:
        raise ModelError(f"'{folder}' is a {found}, not a model of 'procrop-data train-outpainter'")
    config = read_config(folder / UNET, "config.json")
    if config.get("in_channels") != CHANNELS:
        raise ModelError(f"the unet in '{folder}' takes {config.get('in_channels')} channels, not {CHANNELS}")
    model: Any = diffusers.UNet2DModel
    with loading(f"the unet in '{folder}'"):
        unet = model.from_config(config)
        unet.load_state_dict(
            load_file(folder / UNET / WEIGHTS)
        )  # strict, where from_pretrained would fill in at random
    kind: Any = diffusers.DDIMScheduler
    with loading(f"the scheduler in '{folder}'"):
        scheduler = kind.from_pretrained(folder / SCHEDULER)
    pipeline: Any = SmallInpaintPipeline(unet.eval(), scheduler)
    loaded: SmallInpaintPipeline = pipeline.to(device)
    return loaded
