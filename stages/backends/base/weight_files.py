"""Files of weights and nothing else, whichever way they were saved."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from pipeline.core.errors import ModelError
from stages.backends.base.checkpoint_files import loading


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors by name, on the CPU whatever device they were saved on. ModelError when the file holds anything but weights."""
    with loading(f"the weights '{path}'"):
        body: Any = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
        if isinstance(body, Mapping) and isinstance(body.get("params"), Mapping):
            body = body["params"]
    if not isinstance(body, Mapping) or not all(isinstance(value, Tensor) for value in body.values()):
        raise ModelError(f"the weights '{path}' are no table of tensors by name")
    return dict(body)
