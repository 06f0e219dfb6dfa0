"""CAD's text format: ``images/SPLIT/NAME.jpg`` beside ``annotations/SPLIT/NAME.txt``, from a public set or a dataset of ours."""

import shutil
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.errors import UsageError

if TYPE_CHECKING:
    from procrop_model.datasets.labelled import LabelledSet
    from procrop_model.datasets.registry import Format


def write_set(form: "Format", labelled: "LabelledSet", out: Path) -> None:
    """Write a public set: at most 5 crops per picture, best first; picture files are copied unchanged.

    Raises UsageError for two pictures of one name in a split.
    """
    from pipeline.app.public_sets.to_shards import sample_of
    from procrop_model.datasets.cad import cad_lines

    for image in labelled.images:
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


def dataset_of(place: Path) -> Path:
    """The dataset folder of a run directory, or the folder itself if it has shards. Raises UsageError."""
    for folder in (place / "dataset", place):
        if (folder / "shards").is_dir():
            return folder
    raise UsageError(f"--from '{place}': neither a run directory with a dataset nor a dataset with shards")


def write_dataset(dataset: Path, out: Path, split: str = "") -> dict[str, int]:
    """Write a dataset of ours: the pseudo-label first, then the best crops; the bytes of pictures are copied.

    Gives the number of pictures by split. Raises UsageError if there are none.
    """
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
    return dict(counts)


def _folders(out: Path, split: str) -> tuple[Path, Path]:
    folders = out / "images" / split, out / "annotations" / split
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    return folders
