"""Miniatures of public cropping sets in their published layouts, with pictures that are not square."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

WIDE, TALL = (96, 60), (60, 96)


def picture(path: Path, size: tuple[int, int], seed: int = 0) -> Path:
    """A smooth picture with something in it, different for each seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 255, (4, 5, 3)).astype(np.uint8)
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(path, quality=92)
    return path


def text(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def dump(path: Path, value: object) -> Path:
    return text(path, json.dumps(value))


def gaicd(root: Path) -> Path:
    """Two test pictures (wide, tall), with what an operating system leaves beside them; some rows are unscored."""
    for name, split, size, seed in (
        ("a", "test", WIDE, 1),
        ("b", "test", TALL, 2),
        ("c", "train", WIDE, 3),
        ("d", "val", TALL, 4),
    ):
        picture(root / "images" / split / f"{name}.jpg", size, seed)
        (root / "images" / split / f"._{name}.jpg").write_bytes(b"of no use")
        right, low = size
        rows = [
            (0, 0, low, right, 2.5),
            (3, 2, low - 4, right - 1, 4.25),
            (1, 1, low - 9, right - 8, 3.0),
            (5, 4, 50, 55, -2),
        ]
        rows += [(i, i, low - i, right - i, 1 + i / 4) for i in range(2, 12)]
        text(root / "annotations" / split / f"{name}.txt", "".join(" ".join(map(str, row)) + "\n" for row in rows))
    return root


def cad(root: Path) -> Path:
    picture(root / "images" / "train" / "p.jpg", WIDE, 5)
    picture(root / "images" / "test" / "q.jpg", TALL, 6)
    text(root / "annotations" / "train" / "p.txt", "10 5 90 55 7.5\n0 0 80 50 8.25\n")
    text(root / "annotations" / "test" / "q.txt", "5 10 55 90 9\n")
    return root


def fcdb(root: Path) -> Path:
    """Three listed pictures, two of them here: one by its URL's name, one by its Flickr id."""
    url = "https://farm1.example/1/{}_ab_c.jpg"
    entries = [{"url": url.format(n), "flickr_photo_id": n, "crop": [4, 6, 80, 50]} for n in (11, 12, 13)]
    dump(root / "cropping_testing_set.json", entries)
    boxes = {"crop_0": [4, 6, 80, 50], "crop_1": [0, 0, 40, 30], "vote_for_0": 4, "vote_for_1": 1}
    turned = {"crop_0": [0, 0, 30, 20], "crop_1": [10, 10, 80, 48], "vote_for_0": 0, "vote_for_1": 5}
    ranking = [{"url": url.format(11), "flickr_photo_id": 11, "crops": [boxes, turned]}]
    dump(root / "ranking_annotation.json", ranking)
    picture(root / "data" / "11_ab_c.jpg", WIDE, 7)
    picture(root / "data" / "12.jpg", WIDE, 8)
    return root


def flms(root: Path) -> Path:
    """Two pictures; rows are y1 x1 y2 x2, one of them absent."""
    boxes = np.array([[3, 5, 55, 90], [-1, -1, -1, -1], [0, 0, 60, 96]], float)
    for i, name in enumerate(("w.jpg", "t.jpg")):
        picture(root / "image" / name, (WIDE, TALL)[i], 9 + i)
    write_flms(root, [("w.jpg", boxes), ("t.jpg", np.array([[5, 3, 90, 55]], float))])
    return root


def write_flms(root: Path, entries: list[tuple[str, np.ndarray]]) -> None:
    """A struct array, as the published file has it."""
    from scipy.io import savemat

    table = np.empty((len(entries), 1), [("filename", object), ("bbox", object)])
    table[:, 0] = entries
    savemat(root / "500_image_dataset.mat", {"img_gt": table})


def cpc(root: Path) -> Path:
    """One picture of 24 crops, judged by two people, as JSON within a JSON text."""
    picture(root / "images" / "v.jpg", WIDE, 11)
    boxes = [[i, i // 2, 60 + i, 40 + i // 2] for i in range(24)]
    about = {"scores": [[i % 3 for i in range(24)], [1] * 24], "bboxes": boxes}
    dump(root / "CollectedAnnotationsRaw" / "v.jpg.txt", json.dumps(about))
    return root


def sacd(root: Path) -> Path:
    """One picture with two subjects."""
    picture(root / "images" / "s.jpg", WIDE, 12)
    for number in (0, 1):
        picture(root / "masks" / f"s_{number}.jpg", WIDE, 13 + number)
        about = {
            "best_box": [[4, 5, 90, 58]],
            "crop_box": [[4, 5, 90, 58], [10, 5, 80, 50]],
            "mask_box": "[20, 10, 30, 40]",
        }
        dump(root / "annotations" / f"s_{number}.json", about)
    dump(root / "test.json", {"jsons": ["annotations/s_0.json", "annotations/s_1.json"]})
    return root


MAKERS = {"gaicd": gaicd, "cad": cad, "fcdb": fcdb, "fcdb-pairs": fcdb, "flms": flms, "cpc": cpc, "sacd": sacd}
