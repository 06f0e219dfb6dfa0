"""CAD's text format of a public set or a dataset of ours: ``images/SPLIT/NAME.jpg`` beside ``annotations/SPLIT/NAME.txt``."""

import shutil
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import UsageError

if TYPE_CHECKING:
    from procrop_model.datasets.labelled import LabelledSet
    from procrop_model.datasets.registry import Format


def write_set(form: "Format", found: "LabelledSet", out: Path) -> dict[str, Any]:
    """A public set: at most 5 crops a picture, best first; picture files are copied as they are."""
    from pipeline.app.public_sets.to_shards import sample_of
    from procrop_model.datasets.cad import cad_lines

    for image in found.images:
        stem = Path(image.name).stem
        sample = sample_of(form, image, stem, stem)
        images, labels = _folders(out, image.split)
        target = images / f"{stem}{image.path.suffix.lower()}"
        if target.exists():
            raise UsageError(
                f"'{form.name}' has two pictures '{image.name}' in the split '{image.split}': CAD wants one a name"
            )
        shutil.copyfile(image.path, target)
        (labels / f"{stem}.txt").write_text(cad_lines(sample.crops, sample.scores), encoding="utf-8")
    return {"splits": found.splits()}


def dataset_of(place: Path) -> Path:
    """The dataset of a run directory, or the folder itself when it has shards; raises UsageError."""
    for folder in (place / "dataset", place):
        if (folder / "shards").is_dir():
            return folder
    raise UsageError(f"--from '{place}': neither a run directory with a dataset nor a dataset with shards")


def write_dataset(dataset: Path, out: Path, split: str = "") -> dict[str, Any]:
    """Final shards of ours: the pseudo-label first, then the best crops; the bytes of pictures are copied."""
    from procrop_model.datasets.cad import cad_lines
    from procrop_model.datasets.tree import SPLITS
    from procrop_model.training.samples import read_split

    counts: Counter[str] = Counter()
    for part in SPLITS if not split else (split,):
        samples = read_split(dataset, part, needed=bool(split))
        for index in range(len(samples)):
            sample = samples[index]
            images, labels = _folders(out, part)
            (images / f"{sample.key}.jpg").write_bytes(sample.image)
            (labels / f"{sample.key}.txt").write_text(cad_lines(sample.crops, sample.scores), encoding="utf-8")
            counts[part] += 1
    if not counts:
        raise UsageError(f"'{dataset}' has no samples in {', '.join(SPLITS)}")
    return {"splits": dict(counts)}


def _folders(out: Path, split: str) -> tuple[Path, Path]:
    folders = out / "images" / split, out / "annotations" / split
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    return folders
