"""Read a split with webdataset: python read_webdataset.py DATASET_FOLDER [SPLIT]."""

import sys
from glob import glob

import webdataset


def main(folder: str, split: str = "train") -> int:
    """Print the number of samples, and the size and crops of the first."""
    tars = sorted(glob(f"{folder}/shards/*-{split}-*.tar"))
    dataset = webdataset.WebDataset(tars, shardshuffle=False).decode("pil").to_tuple("jpg", "json")
    samples = list(dataset)
    image, about = samples[0]
    print(
        f"{len(samples)} samples; the first has {image.width} x {image.height} pixels and {len(about['crops'])} crops"
    )
    return len(samples)


if __name__ == "__main__":
    main(*sys.argv[1:])
