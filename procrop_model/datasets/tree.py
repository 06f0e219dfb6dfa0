"""The folder layout of GAICD, which the published label sets of ProCrop share: ``images/SPLIT/NAME.jpg`` beside
``annotations/SPLIT/NAME.txt``.

Also read: ``annotations/NAME.txt`` without splits (GAICD v1); and ``images/NAME.jpg`` without splits, with lists of names
``train.txt``, ``val.txt``, ``test.txt`` in the root. Anything else is an error that says what was looked for.
"""

from collections.abc import Iterator
from pathlib import Path

from pipeline.core.errors import DamagedDataError, UsageError
from procrop_model.datasets.checks import SUFFIXES, is_picture

SPLITS = ("train", "val", "test")


def split_files(root: Path, split: str = "") -> Iterator[tuple[str, Path, Path]]:
    """(split, picture, annotation file) of each picture, by split and name. split: one alone, or all.

    Raises UsageError for another layout or a split that is not there, DamagedDataError for a picture without annotations.
    """
    images, labels = root / "images", root / "annotations"
    if not images.is_dir() or not labels.is_dir():
        raise UsageError(f"'{root}' has no folders 'images' and 'annotations': expected images/train/NAME.jpg beside "
                         "annotations/train/NAME.txt, or lists of names train.txt, test.txt beside them")  # fmt: skip
    by_split = {name: paths for name in SPLITS if (paths := _pictures(root, images, name))}
    if not by_split:
        raise UsageError(f"'{images}' has no pictures in train, val or test, and '{root}' no lists train.txt, test.txt")
    if split and split not in by_split:
        raise UsageError(f"'{root}' has no split '{split}': it has {', '.join(by_split)}")
    for name, pictures in by_split.items():
        for picture in pictures if split in ("", name) else ():
            places = [labels / name / f"{picture.stem}.txt", labels / f"{picture.stem}.txt"]
            text = next((place for place in places if place.is_file()), None)
            if text is None:
                raise DamagedDataError(f"{picture}: no annotations; expected {places[0]}, or {places[1]}")
            yield name, picture, text


def _pictures(root: Path, images: Path, split: str) -> list[Path]:
    folder, listed = images / split, root / f"{split}.txt"
    if folder.is_dir():
        return sorted(path for path in folder.iterdir() if is_picture(path))
    if not listed.is_file():
        return []
    beside = {path.stem: path for path in images.iterdir() if is_picture(path)}
    names = [line.strip() for line in listed.read_text(encoding="utf-8").splitlines() if line.strip()]
    paths = []
    for line, name in enumerate(names, 1):
        stem = Path(name).stem if Path(name).suffix.lower() in SUFFIXES else name
        if stem not in beside:
            raise DamagedDataError(f"{listed}:{line}: '{name}' is listed, but {images} has no such picture")
        paths.append(beside[stem])
    return paths
