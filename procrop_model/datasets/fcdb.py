"""FCDB, the Flickr cropping dataset (Chen et al., WACV 2017): one crop a picture, and pairs of boxes with votes.

Files, as its repository has them: ``cropping_testing_set.json`` (345 pictures), ``cropping_training_set.json`` where there is one,
``ranking_annotation.json`` (3,362 pictures with 10 pairs each, no split: all are ``train`` there). Boxes are
``[x, y, width, height]``. Photographs are named by URL and Flickr id and are not part of it: they are looked for below ``data``,
``images`` and the folder itself, under the URL's file name or the id.
Those that are absent, or that Flickr replaced by a notice, are listed.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image

from pipeline.core.errors import DamagedDataError, UsageError
from pipeline.core.pictures import decoder_errors
from procrop_model.datasets.checks import Pictures, checked_box, folder_of, image_size, read_json, require_some
from procrop_model.datasets.labelled import BoxXyxy, LabelledImage, LabelledSet, Pair

CROPS = {"test": "cropping_testing_set.json", "train": "cropping_training_set.json"}
PAIRS = "ranking_annotation.json"
OFFICIAL, OTHER = 345, 319
OPINION = 10.0


def read_fcdb(root: Path | str, split: str = "") -> LabelledSet:
    """The crops: one box of score 10 a picture. Raises UsageError and DamagedDataError."""
    folder, labelled = folder_of(root, "FCDB"), LabelledSet("fcdb")
    pictures = Pictures([folder / "data", folder / "images", folder])
    files = {part: folder / name for part, name in CROPS.items() if split in ("", part) and (folder / name).is_file()}
    if not files:
        raise UsageError(
            f"'{folder}' has no {' or '.join(CROPS[p] for p in CROPS if split in ('', p))}: FCDB's list of crops"
        )
    for part, file in files.items():
        listed = _entries(file, ("crop",))
        for where, name, path, about in _present(file, listed, pictures, labelled.missing):
            size = image_size(path)
            with labelled.leaving_out(name):
                box = checked_box(_xyxy(about["crop"], where), size, where, labelled.skipped)
                labelled.images.append(LabelledImage(name, path, part, *size, (box,), (OPINION,)))
        labelled.notes.append(f"{part}: {len(listed)} pictures listed{_which(len(listed)) if part == 'test' else ''}")
    labelled.require_few_outside()
    require_some(labelled.images, labelled.missing, pictures.folders)
    return labelled


def read_fcdb_pairs(root: Path | str, split: str = "") -> LabelledSet:
    """The compared pairs of boxes; pictures have pairs and no other boxes. Raises UsageError and DamagedDataError."""
    folder, labelled = folder_of(root, "FCDB"), LabelledSet("fcdb-pairs")
    file = folder / PAIRS
    if not file.is_file():
        raise UsageError(f"'{folder}' has no {PAIRS}: FCDB's compared pairs")
    pictures = Pictures([folder / "data", folder / "images", folder])
    listed = _entries(file, ("crops",))
    for where, name, path, about in _present(file, listed, pictures, labelled.missing):
        size = image_size(path)
        with labelled.leaving_out(name):
            pairs = tuple(_pair(pair, size, f"{where}, pair {i}", labelled) for i, pair in enumerate(about["crops"], 1))
            labelled.images.append(LabelledImage(name, path, "train", *size, (), (), pairs))
    labelled.require_few_outside()
    require_some(labelled.images, labelled.missing, pictures.folders)
    labelled.notes.append(
        f"{len(listed)} pictures listed, {sum(len(image.pairs) for image in labelled.images)} pairs of those here"
    )
    return labelled


def _which(count: int) -> str:
    known = {OFFICIAL: "the official list", OTHER: "a later split of 319, not the official list of 345"}
    return f" ({known.get(count, 'neither the official 345 nor the later split of 319')})"


def _entries(file: Path, wanted: Sequence[str]) -> list[dict[str, Any]]:
    """The entries of a list, checked for their keys."""
    entries = read_json(file)
    if not isinstance(entries, list) or not entries:
        raise DamagedDataError(
            f"{file}: expected a list of pictures, found {type(entries).__name__} that is no list or empty"
        )
    for number, entry in enumerate(entries, 1):
        absent = [key for key in ("url", *wanted) if not isinstance(entry, dict) or not entry.get(key)]
        if absent:
            raise DamagedDataError(
                f"{file}, entry {number}: expected the keys url, {', '.join(wanted)}; no {', '.join(absent)}"
            )
    return entries


def _present(
    file: Path, entries: Sequence[dict[str, Any]], pictures: Pictures, missing: list[str]
) -> Iterator[tuple[str, str, Path, dict[str, Any]]]:
    """(place for errors, name, path, entry) of each picture that is here; the others go to ``missing``."""
    for number, entry in enumerate(entries, 1):
        name = PurePosixPath(str(entry["url"])).name
        path = pictures.find(name, PurePosixPath(name).stem, str(entry.get("flickr_photo_id", "")))
        if path is None or _is_placeholder(path):
            missing.append(name)
        else:
            yield f"{file}, entry {number} ({name})", name, path, entry


def _is_placeholder(path: Path) -> bool:
    """Whether this is what Flickr sends in place of a photograph that is gone: a PNG, whatever the address says."""
    if path.suffix.lower() not in (".jpg", ".jpeg"):
        return False
    try:
        with decoder_errors(), Image.open(path) as image:
            return image.format == "PNG"
    except OSError:
        return False


def _xyxy(box: Any, where: str) -> list[float]:
    """From [x, y, width, height]."""
    try:
        x, y, width, height = (float(value) for value in box)
    except (TypeError, ValueError) as error:
        raise DamagedDataError(f"{where}: expected a crop [x, y, width, height], found {str(box)[:60]}") from error
    return [x, y, x + width, y + height]


def _pair(pair: Any, size: tuple[int, int], where: str, labelled: LabelledSet) -> Pair:
    try:
        votes = [int(pair[f"vote_for_{i}"]) for i in (0, 1)]
        given = [pair[f"crop_{i}"] for i in (0, 1)]
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedDataError(f"{where}: expected crop_0, crop_1, vote_for_0, vote_for_1; {error!r}") from error
    boxes: list[BoxXyxy] = [checked_box(_xyxy(box, where), size, where, labelled.skipped) for box in given]
    return Pair(boxes[0], boxes[1], votes[0], votes[1])
