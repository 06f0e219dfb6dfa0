"""Cropping pictures of any kind with a saved model, and refusing folders that are none."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.core.errors import ModelError, UsageError
from pipeline.core.geometry import iou
from pipeline.core.processor import has_bf16
from pipeline.core.resources import bundled
from procrop_model import Cropper
from procrop_model.cropper import DISTINCT_IOU, open_upright, parse_aspect, parse_size
from procrop_model.model_folder.build_network import build_network
from procrop_model.model_folder.save_load import learned_state, save_model
from procrop_model.network.config import CropperConfig
from procrop_model.retrieval.database import ReferenceDatabase


@pytest.fixture(scope="module")
def folder(tiny: CropperConfig, workplace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model, saved."""
    database = ReferenceDatabase.load(workplace / "retrieve" / "references")
    config = replace(tiny, encoder=database.encoder)
    torch.manual_seed(0)
    network = build_network(config)
    torch.nn.init.normal_(network.decoder.references, std=1.0)
    home = tmp_path_factory.mktemp("model") / "cropper"
    save_model(home, learned_state(network, config), config=config, references=database, trained={"val_iou": 0.5})
    return home


@pytest.fixture(scope="module")
def cropper(folder: Path) -> Cropper:
    return Cropper.load(folder, precision="fp32")


@pytest.fixture(scope="module")
def photo() -> Path:
    return bundled("assets") / "photos" / "coffee.jpg"


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as opened:
        return opened.size


def test_a_photo_gives_distinct_crops_with_their_references(cropper: Cropper, photo: Path) -> None:
    crops = cropper(photo, top=3)
    width, height = size_of(photo)
    assert 1 <= len(crops) <= 3
    assert [c.score for c in crops] == sorted((c.score for c in crops), reverse=True)
    for i, crop in enumerate(crops):
        x1, y1, x2, y2 = crop.box_px
        assert 0 <= x1 < x2 <= width
        assert 0 <= y1 < y2 <= height
        assert crop.image().size == (x2 - x1, y2 - y1)
        assert all(iou(crop.box_px, other.box_px) < DISTINCT_IOU for other in crops[:i])
        assert len(crop.references) == 2
        assert set(crop.references[0]) == {"title", "author", "similarity"}


@pytest.mark.parametrize("aspect", ["4:5", 16 / 9, "1", "portrait", "16x9"])
def test_an_aspect_is_met_to_the_pixel(cropper: Cropper, photo: Path, aspect: str | float) -> None:
    ratio = parse_aspect(aspect)
    assert ratio is not None
    for crop in cropper(photo, aspect=aspect):
        x1, y1, x2, y2 = crop.box_px
        assert min(abs((x2 - x1) - (y2 - y1) * ratio), abs((y2 - y1) - (x2 - x1) / ratio)) <= 0.5
        assert crop.aspect == pytest.approx(ratio)


def test_a_size_is_exact_and_taken_from_the_original(cropper: Cropper, photo: Path, tmp_path: Path) -> None:
    (crop,) = cropper(photo, size="108x135", top=1)
    crop.save(tmp_path / "out.jpg")
    assert size_of(tmp_path / "out.jpg") == (108, 135)
    x1, y1, x2, y2 = crop.box_px
    assert (x2 - x1) / (y2 - y1) == pytest.approx(0.8, abs=0.02)


def test_a_photo_of_the_database_is_not_its_own_reference(cropper: Cropper, reference_photo: np.ndarray) -> None:
    titles = [r["title"] for r in cropper(reference_photo)[0].references]
    assert titles
    assert "title of photo0" not in titles


def test_no_references_is_the_plain_model(cropper: Cropper, photo: Path) -> None:
    assert cropper(photo, k=0)[0].references == []
    assert len(cropper(photo, k=100)[0].references) == 6


@pytest.mark.parametrize(
    ("mode", "size"),
    [("L", (80, 50)), ("CMYK", (80, 50)), ("P", (80, 50)), ("RGBA", (50, 80)), ("I;16", (80, 50)), ("1", (64, 64))],
)
def test_pictures_of_any_kind(cropper: Cropper, tmp_path: Path, mode: str, size: tuple[int, int]) -> None:
    base = Image.fromarray(np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), np.uint8))
    picture = base.convert("L").convert("I;16") if mode == "I;16" else base.convert(mode)
    path = tmp_path / "a photo. ä.tif"
    picture.save(path)
    for crop in cropper(path):
        assert crop.image().mode == "RGB"


@pytest.mark.parametrize("size", [(1, 1), (3, 900), (2000, 4)])
def test_tiny_and_extreme_pictures(cropper: Cropper, size: tuple[int, int]) -> None:
    crops = cropper(Image.new("RGB", size, "teal"), size=(40, 30))
    assert crops[0].image().size == (40, 30)


def test_exif_orientation_is_obeyed(cropper: Cropper, photo: Path, tmp_path: Path) -> None:
    turned = open_upright(photo).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    assert open_upright(tmp_path / "turned.jpg").size == size_of(photo)


def test_batches_give_what_single_images_give(cropper: Cropper) -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, shape, np.uint8) for shape in ((50, 80, 3), (90, 40, 3))]
    boxes, scores = cropper.propose(images)
    for row, image in enumerate(images):
        alone, score = cropper.propose([image])
        np.testing.assert_allclose(boxes[row], alone[0], rtol=1e-3, atol=1e-2)
        np.testing.assert_allclose(scores[row], score[0], rtol=1e-3)
    given = [np.array([[0, 0, 40, 40]], np.float32), np.array([[0, 0, 20, 30], [5, 5, 40, 90]], np.float32)]
    judged = cropper.score_boxes(images, given)
    assert [len(rows) for rows in judged] == [1, 2]
    np.testing.assert_allclose(judged[1], cropper.score_boxes(images[1:], given[1:])[0], rtol=1e-3)


def test_aspects_in_words_and_with_any_sign() -> None:
    assert [parse_aspect(word) for word in ("16x9", "16/9", "16:9", 16 / 9)] == [pytest.approx(16 / 9)] * 4
    assert [parse_aspect(word) for word in ("Square", "portrait", "landscape")] == [1, 2 / 3, 3 / 2]


@pytest.mark.parametrize("aspect", ["4:0", "wide", "1:2:3", -1.0, "100:1"])
def test_malformed_aspects(aspect: str | float) -> None:
    with pytest.raises(UsageError, match="aspect"):
        parse_aspect(aspect)


@pytest.mark.parametrize("size", ["1080", "0x5", "axb", (1, 2, 3), "100000x5"])
def test_malformed_sizes(size: str) -> None:
    with pytest.raises(UsageError, match="size"):
        parse_size(size)


def test_arrays_must_be_rgb_bytes(cropper: Cropper) -> None:
    with pytest.raises(UsageError, match="uint8"):
        cropper(np.zeros((5, 5), np.uint8))


def test_missing_foreign_and_damaged_folders(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no cropper in"):
        Cropper.load(tmp_path / "nothing")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ModelError, match="not the config of a cropper"):
        Cropper.load(tmp_path)
    cut = shutil.copytree(folder, tmp_path / "cut")
    weights = cut / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelError, match="missing or truncated"):
        Cropper.load(cut)
    bare = shutil.copytree(folder, tmp_path / "bare")
    shutil.rmtree(bare / "references")
    with pytest.raises(ModelError, match="no reference database"):
        Cropper.load(bare)
    other = shutil.copytree(folder, tmp_path / "other")
    text = (other / "config.json").read_text().replace('"queries": 5', '"queries": 7')
    (other / "config.json").write_text(text)
    with pytest.raises(ModelError, match="do not fit their config"):
        Cropper.load(other)


def test_bf16_gives_nearly_the_same_crops(cropper: Cropper, photo: Path) -> None:
    folder = bundled("assets") / "models" / "cropper"
    reduced = Cropper.load(folder, precision="bf16")
    exact = Cropper.load(folder, precision="fp32")
    (plain,), (quick,) = exact(photo, top=1), reduced(photo, top=1)
    assert iou(plain.box_px, quick.box_px) > 0.8
    assert plain.score != quick.score and abs(plain.score - quick.score) < 0.1
    assert Cropper.load(folder).precision == "fp32"
    assert Cropper.load(folder, precision="auto").precision == ("bf16" if has_bf16() else "fp32")
    with pytest.raises(UsageError, match="fp32 or bf16"):
        Cropper.load(folder, precision="int8")
