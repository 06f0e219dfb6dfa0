"""Read splits with megatron-energon: python read_energon.py DATASET_FOLDER SPLIT...

energon wants an index of its own beside the tars first: energon prepare --tar-index-only DATASET_FOLDER
"""

import json
import sys
from typing import Any, ClassVar

from megatron.energon import (
    Cooker,
    DefaultTaskEncoder,
    Sample,
    WorkerConfig,
    basic_sample_keys,
    edataclass,
    get_loader,
    get_val_dataset,
    stateless,
)


@edataclass
class Canvas(Sample):
    """A canvas [3, H, W] with the JSON of its sample."""

    image: Any
    about: dict[str, Any]


@stateless
def cook(sample: dict[str, Any]) -> Canvas:
    """A sample from the files of its key."""
    return Canvas(**basic_sample_keys(sample), image=sample["jpg"], about=sample["json"])


class Encoder(DefaultTaskEncoder):
    """Leaves samples as they are cooked."""

    cookers: ClassVar = [Cooker(cook)]


def main(folder: str, *splits: str) -> None:
    """Print, as JSON, the sizes of each canvas by split and key: as it was decoded, then as its JSON says (height, width)."""
    worker = WorkerConfig(rank=0, world_size=1, num_workers=0)
    sizes: dict[str, dict[str, list[int]]] = {}
    for split in splits:
        data = get_val_dataset(folder, split_part=split, worker_config=worker, batch_size=None, task_encoder=Encoder())
        sizes[split] = {
            sample.about["key"]: [*sample.image.shape[-2:], sample.about["height"], sample.about["width"]]
            for sample in get_loader(data)
        }
    print(json.dumps(sizes))


if __name__ == "__main__":
    main(*sys.argv[1:])
