"""Files of weights, as safetensors or as pickles that hold nothing else."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from pipeline.core.errors import ModelError
from stages.backends.base.checkpoint_files import loading


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors by name, on the CPU whatever device they were saved on. ModelError when the file holds anything but weights."""
    with loading(f"the weights '{path}'"):
        body: object = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
        if isinstance(body, Mapping) and isinstance(body.get("params"), Mapping):
            body = body["params"]
    if not isinstance(body, Mapping) or not all(isinstance(value, Tensor) for value in body.values()):
        raise ModelError(f"the weights '{path}' hold something else than tensors by name")
    return dict(body)
