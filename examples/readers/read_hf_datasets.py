"""Read a split with Hugging Face datasets, whole and streaming: python read_hf_datasets.py DATASET_FOLDER [SPLIT]."""

import sys

from datasets import load_dataset


def main(folder: str, split: str = "train", cache: str | None = None) -> int:
    """Print the number of samples, which is the same in both ways."""
    files = {split: f"{folder}/shards/*-{split}-*.tar"}
    whole = load_dataset("webdataset", data_files=files, split=split, cache_dir=cache)
    stream = load_dataset("webdataset", data_files=files, split=split, streaming=True)
    keys = [sample["__key__"] for sample in stream]
    assert keys == list(whole["__key__"])
    print(f"{len(keys)} samples; the first has {len(whole[0]['json']['crops'])} crops")
    return len(keys)


if __name__ == "__main__":
    main(*sys.argv[1:])
