"""SACD, subject-aware cropping (Yang et al., 2023): for a picture and a subject in it, a best crop and further good ones.

Layout, as the published loader has it: lists ``train.json``, ``val.json``, ``test.json``, each an object with the key ``jsons``,
paths of annotation files ``annotations/NAME_N.json``. Such a file has ``best_box`` and ``crop_box``, lists of
``[x1, y1, x2, y2]``, and ``mask_box``, the subject as ``[x, y, width, height]``, often as text. ``NAME_N`` is subject N of
``images/NAME.jpg``, its mask ``masks/NAME_N.jpg``. A set whose pictures lie under ``images-sym/NAME_N.jpg`` is read, too. The best
crop comes first.
"""

import json
from pathlib import Path
from typing import Any

from pipeline.core.errors import DamagedDataError, UsageError
from procrop_model.datasets.checks import Pictures, checked_box, folder_of, image_size, read_json, require_some
from procrop_model.datasets.labelled import BoxXyxy, LabelledImage, LabelledSet
from procrop_model.datasets.tree import SPLITS

OPINION = 10.0
WISH = '{"best_box": [[x1, y1, x2, y2]], "crop_box": [[x1, y1, x2, y2], ...], "mask_box": [x, y, width, height]}'


def read_sacd(root: Path | str, split: str = "") -> LabelledSet:
    """All annotated subjects, or those of a split. Raises UsageError and DamagedDataError."""
    folder, labelled = folder_of(root, "SACD"), LabelledSet("sacd")
    lists = {part: folder / f"{part}.json" for part in SPLITS if split in ("", part)}
    if not any(path.is_file() for path in lists.values()):
        raise UsageError(
            f"'{folder}' has no {' or '.join(path.name for path in lists.values())}: SACD's lists of annotations"
        )
    pictures = Pictures([folder / "images", folder / "images-sym"])
    masks = Pictures([folder / "masks"])
    for part, file in lists.items():
        for name in _listed(file) if file.is_file() else ():
            annotation = folder / name
            stem = annotation.stem
            path = pictures.find(stem, stem.rsplit("_", 1)[0])
            if path is None:
                labelled.missing.append(f"{stem}.jpg")
            elif not annotation.is_file():
                raise DamagedDataError(f"{file}: lists '{name}', but {annotation} does not exist")
            else:
                with labelled.leaving_out(f"{stem}.jpg"):
                    labelled.images.append(_image(annotation, path, part, masks, labelled))
    labelled.require_few_outside()
    require_some(labelled.images, labelled.missing, pictures.folders)
    labelled.notes.append(
        ", ".join(f"{name} {count}" for name, count in labelled.splits().items()) + " annotated subjects"
    )
    if not len(masks):
        labelled.notes.append("no folder 'masks': subjects are known by their boxes alone")
    return labelled


def _listed(file: Path) -> list[str]:
    about = read_json(file)
    names = about.get("jsons") if isinstance(about, dict) else None
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise DamagedDataError(f'{file}: expected {{"jsons": ["annotations/NAME_N.json", ...]}}')
    return names


def _image(file: Path, path: Path, split: str, masks: Pictures, labelled: LabelledSet) -> LabelledImage:
    about, size = read_json(file), image_size(path)
    if not isinstance(about, dict) or not isinstance(about.get("best_box"), list) or not about["best_box"]:
        raise DamagedDataError(f"{file}: expected {WISH}")
    given = [about["best_box"][0], *_boxes(about.get("crop_box", []), file)]
    boxes = [checked_box(box, size, f"{file}, box {i}", labelled.skipped) for i, box in enumerate(given, 1)]
    unique = tuple(dict.fromkeys(boxes))
    subject, mask = _subject(about.get("mask_box"), size, file, labelled), masks.find(file.stem)
    scores = (OPINION,) * len(unique)
    return LabelledImage(f"{file.stem}.jpg", path, split, *size, unique, scores, mask=mask, subject_box=subject)


def _boxes(value: Any, file: Path) -> list[Any]:
    if not isinstance(value, list):
        raise DamagedDataError(f"{file}: crop_box is no list: expected {WISH}")
    return value


def _subject(value: Any, size: tuple[int, int], file: Path, labelled: LabelledSet) -> BoxXyxy | None:
    if value is None:
        return None
    try:
        x, y, width, height = (float(v) for v in (json.loads(value) if isinstance(value, str) else value))
    except (TypeError, ValueError) as error:
        raise DamagedDataError(f"{file}: mask_box {str(value)[:40]}: expected [x, y, width, height]") from error
    return checked_box((x, y, x + width, y + height), size, f"{file}, mask_box", labelled.skipped)
