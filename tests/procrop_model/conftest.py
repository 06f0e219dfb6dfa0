"""A tiny dataset in the form of the final shards, with neighbours and references: painted gradients around a checked
photo.
"""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from procrop_model.network.config import CropperConfig
from procrop_model.network.lite0 import Lite0Encoder
from procrop_model.retrieval.database import Reference, ReferenceDatabase

TINY = CropperConfig(
    input_side=64, dim=32, heads=2, encoder_layers=1, decoder_layers=2, queries=5, feedforward=32, roi_cells=3, k=2
)
SPLITS = {"train": 6, "val": 2, "test": 2}


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> None:
    """Before every fixture of a module too: a model that one of them trains must be the one that a test trains again."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny() -> CropperConfig:
    return TINY


def canvas(seed: int) -> tuple[np.ndarray, list[int]]:
    """A smooth 60 x 48 picture with a noisy rectangle."""
    rng = np.random.default_rng(seed)
    width, height = (60, 48) if seed % 2 else (48, 60)
    image = np.tile(np.linspace(40, 200, width)[None, :, None], (height, 1, 3))
    x1, y1 = int(rng.integers(2, 16)), int(rng.integers(2, 12))
    x2, y2 = x1 + int(rng.integers(20, 30)), y1 + int(rng.integers(18, 30))
    image[y1:y2, x1:x2] = rng.integers(0, 255, (y2 - y1, x2 - x1, 3))
    return image.astype(np.uint8), [x1, y1, x2, y2]


@pytest.fixture(scope="session")
def reference_photo() -> np.ndarray:
    """The picture of the first reference."""
    return canvas(100)[0]


def entry(key: str, phash: str = "") -> Reference:
    """A reference that is its own photo."""
    return Reference(key, key, phash, f"title of {key}", "someone", "CC0-1.0", "test")


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory with ``dataset/shards``, ``retrieve/000000.parquet`` and ``retrieve/references``."""
    home = tmp_path_factory.mktemp("work")
    (home / "dataset" / "shards").mkdir(parents=True)
    (home / "retrieve").mkdir()
    encoder = Lite0Encoder(TINY.input_side)
    photos = [f"photo{i}" for i in range(6)]
    vectors, tokens = encoder.features([canvas(100 + i)[0] for i in range(6)])
    database = ReferenceDatabase.build(vectors.numpy(), tokens.numpy(), [entry(p) for p in photos], encoder.digest)
    database.save(home / "retrieve" / "references")
    rows, number = [], 0
    for split, count in SPLITS.items():
        with tarfile.open(home / "dataset" / "shards" / f"tiny-{split}-000000.tar", "w") as tar:
            for _ in range(count):
                rows.append(_add(tar, number, photos, split))
                number += 1
    pq.write_table(pa.Table.from_pylist(rows), home / "retrieve" / "000000.parquet")
    return home


@pytest.fixture(scope="session")
def annotated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A public set as ``convert`` writes it: five crops a picture, best first, bad ones among them."""
    home = tmp_path_factory.mktemp("public-set")
    (home / "shards").mkdir()
    number = 500
    for split, count in {"train": 5, "val": 2, "test": 2}.items():
        with tarfile.open(home / "shards" / f"set-{split}-000000.tar", "w") as tar:
            for _ in range(count):
                add_annotated(tar, number, split)
                number += 1
    return home


def add_annotated(tar: tarfile.TarFile, number: int, split: str) -> None:
    image, box = canvas(number)
    height, width = image.shape[:2]
    crops = [[float(x) for x in box], [float(x) for x in (box[0] + 1, box[1] + 1, box[2], box[3])]]
    crops += [
        [0.0, 0.0, width / 2, height / 2],
        [0.0, 0.0, float(width), float(height)],
        [width / 2, 0.0, width, height / 2],
    ]
    about = {
        "key": f"set-{split}-{number:04d}",
        "photo": f"set-photo{number}",
        "width": width,
        "height": height,
        "photo_box": box,
        "crops": crops,
        "scores": [9.0, 7.5, 5.0, 3.0, 1.0],
        "origins": ["annotated"] * 5,
        "outpainter": "",
        "scorer": "human",
    }
    _write(tar, about, image)


def _write(tar: tarfile.TarFile, about: dict[str, object], image: np.ndarray) -> None:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=95)
    for extension, data in (("jpg", buffer.getvalue()), ("json", json.dumps(about).encode())):
        info = tarfile.TarInfo(f"{about['key']}.{extension}")
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))


def _add(tar: tarfile.TarFile, number: int, photos: list[str], split: str) -> dict[str, object]:
    image, box = canvas(number)
    height, width = image.shape[:2]
    key = f"{split}-{number:04d}"
    crops = [[float(x) for x in box], [0.0, 0.0, width / 2, height / 2]]
    about = {
        "key": key,
        "prompt": f"a noisy square, number {number}",
        "photo": f"{split}photo{number // 2}",
        "width": width,
        "height": height,
        "photo_box": box,
        "crops": crops,
        "scores": [8.0, 3.0],
        "origins": ["photo", "grid"],
    }
    _write(tar, about, image)
    picked = [photos[number % 6], photos[(number + 1) % 6]]
    return {"key": key, "photo": about["photo"], "status": "kept", "references": picked, "similarities": [0.9, 0.8]}
