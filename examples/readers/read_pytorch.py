"""Read a split with plain PyTorch, as a map-style dataset of tensors: python read_pytorch.py DATASET_FOLDER [SPLIT]."""

import io
import json
import sys
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from pipeline.shards.dataset import ShardSet


class Canvases(Dataset[dict[str, Any]]):
    """Canvases uint8 [3, H, W] with their crops float32 [n, 4], x1 y1 x2 y2 in pixels, and scores float32 [n]."""

    def __init__(self, folder: str, split: str) -> None:
        self.shards = ShardSet.of_split(folder, split)

    def __len__(self) -> int:
        return len(self.shards)

    def __getitem__(self, number: int) -> dict[str, Any]:
        parts = self.shards[number].parts
        about = json.loads(parts["json"])
        with Image.open(io.BytesIO(parts["jpg"])) as image:
            pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)  # [3, H, W]
        return {"image": pixels, "crops": torch.tensor(about["crops"]), "scores": torch.tensor(about["scores"])}


def main(folder: str, split: str = "train") -> int:
    """Print the number of samples, and the shapes of the first in a random order."""
    dataset = Canvases(folder, split)
    # Canvases differ in size, so a batch is a list.
    loader = DataLoader(
        dataset, batch_size=4, shuffle=True, collate_fn=list, generator=torch.Generator().manual_seed(0)
    )
    first = next(iter(loader))[0]
    count = sum(len(batch) for batch in loader)
    print(f"{count} samples; an image {tuple(first['image'].shape)}, crops {tuple(first['crops'].shape)}")
    return count


if __name__ == "__main__":
    main(*sys.argv[1:])
