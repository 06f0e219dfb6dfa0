"""Faces are found where they are, at any size; pictures without any give none and no error."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from pipeline.core.errors import ModelError
from pipeline.core.geometry import cover, iou
from pipeline.core.resources import bundled
from procrop_model.faces.detector import FaceDetector, faces_folder
from procrop_model.faces.heads import chin_to_hair, head_boxes

FACE = (0.34, 0.14, 0.54, 0.34)  # of the astronaut, by eye


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return FaceDetector()


@pytest.fixture(scope="module")
def astronaut() -> Image.Image:
    with Image.open(bundled("assets") / "photos" / "astronaut.jpg") as photo:
        return photo.convert("RGB")


def crowd(astronaut: Image.Image) -> np.ndarray:
    """Fifty heads in five rows."""
    head = astronaut.crop((130, 20, 330, 240)).resize((100, 110))
    sheet = Image.new("RGB", (1000, 550))
    for place in range(50):
        sheet.paste(head, (place % 10 * 100, place // 10 * 110))
    return np.asarray(sheet)


def drawing() -> np.ndarray:
    """Lines and a house, without a face."""
    sheet = Image.new("RGB", (400, 250), "white")
    brush = ImageDraw.Draw(sheet)
    brush.polygon([(60, 120), (130, 60), (200, 120)], outline="black")
    brush.rectangle((70, 120, 190, 220), outline="black")
    brush.line((0, 220, 400, 220), fill="black", width=3)
    return np.asarray(sheet)


def test_a_face_is_found_where_it_is(detector: FaceDetector, astronaut: Image.Image) -> None:
    (faces,) = detector.detect([np.asarray(astronaut)])
    assert faces.shape == (1, 5) and faces.dtype == np.float32
    assert iou(faces[0, :4].tolist(), FACE) > 0.8 and faces[0, 4] > 0.8


def test_a_mirrored_picture_has_mirrored_faces(detector: FaceDetector, astronaut: Image.Image) -> None:
    (faces,) = detector.detect([np.asarray(astronaut)])
    (mirrored,) = detector.detect([np.asarray(astronaut)[:, ::-1].copy()])
    x1, y1, x2, y2 = faces[0, :4].tolist()
    assert iou(mirrored[0, :4].tolist(), (1 - x2, y1, 1 - x1, y2)) > 0.85


@pytest.mark.parametrize("region", [(130, 20, 330, 240), (0, 0, 512, 300), (160, 60, 290, 190)])
def test_a_face_is_found_from_small_to_as_large_as_the_frame(
    detector: FaceDetector, astronaut: Image.Image, region: tuple[int, int, int, int]
) -> None:
    cut = np.asarray(astronaut.crop(region))
    (faces,) = detector.detect([cut])
    x, y, scale = region[0], region[1], np.array([cut.shape[1], cut.shape[0]] * 2)
    place = faces[0, :4] * scale + np.array([x, y, x, y])
    assert len(faces) == 1 and iou((place / 512).tolist(), FACE) > 0.65


def test_small_faces_of_a_large_picture_are_found(detector: FaceDetector, astronaut: Image.Image) -> None:
    wide = Image.new("RGB", (1600, 700), (90, 120, 90))
    wide.paste(astronaut.resize((300, 300)), (1200, 300))
    (faces,) = detector.detect([np.asarray(wide)])
    expected = ((1200 + 102) / 1600, (300 + 42) / 700, (1200 + 162) / 1600, (300 + 102) / 700)
    assert len(faces) == 1 and iou(faces[0, :4].tolist(), expected) > 0.6


def test_fifty_faces_are_mostly_found_and_never_twice(detector: FaceDetector, astronaut: Image.Image) -> None:
    (faces,) = detector.detect([crowd(astronaut)])
    assert 20 <= len(faces) <= 50
    places = {(int((x1 + x2) * 5), int((y1 + y2) * 2.5)) for x1, y1, x2, y2 in faces[:, :4].tolist()}
    assert len(places) == len(faces)


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 500, 3), (300, 200, 3)])
@pytest.mark.parametrize("value", [0, 128, 255])
def test_plain_pictures_have_no_faces(detector: FaceDetector, shape: tuple[int, int, int], value: int) -> None:
    assert detector.detect([np.full(shape, value, np.uint8)])[0].shape == (0, 5)


def test_a_drawing_and_photographs_without_people_have_no_faces(detector: FaceDetector) -> None:
    photos = [
        Image.open(bundled("assets") / "photos" / f"{name}.jpg").convert("RGB") for name in ("coffee", "chelsea", "fog")
    ]
    for faces in detector.detect([drawing(), *map(np.asarray, photos)]):
        assert faces.shape == (0, 5)


def test_batched_equals_single_bitwise(detector: FaceDetector, astronaut: Image.Image) -> None:
    image = np.asarray(astronaut)
    batched = detector.detect([drawing(), image])
    assert np.array_equal(batched[1], detector.detect([image])[0])


def test_a_pickled_detector_finds_the_same(detector: FaceDetector, astronaut: Image.Image) -> None:
    image = np.asarray(astronaut)
    again = pickle.loads(pickle.dumps(detector))
    assert again.digest == detector.digest and np.array_equal(again.detect([image])[0], detector.detect([image])[0])


def test_the_digest_names_sides_and_weights(detector: FaceDetector) -> None:
    assert FaceDetector(sides=(320,)).digest != detector.digest == FaceDetector().digest


def test_missing_and_damaged_weights_are_model_errors(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="restore assets/models/faces"):
        _ = FaceDetector(tmp_path).digest
    (tmp_path / "finder.onnx").write_bytes((faces_folder() / "finder.onnx").read_bytes()[:1000])
    with pytest.raises(ModelError, match=r"finder\.onnx do not load"):
        FaceDetector(tmp_path).detect([np.zeros((50, 60, 3), np.uint8)])


def test_a_head_holds_its_face_and_ends_at_the_frame() -> None:
    faces = np.array([[0.4, 0.3, 0.6, 0.5, 0.9], [0.0, 0.0, 1.0, 1.0, 0.8]], np.float32)
    heads, parts = head_boxes(faces), chin_to_hair(faces)
    for face, head, part in zip(faces.tolist(), heads.tolist(), parts.tolist(), strict=True):
        assert cover(face[:4], part) > 0.999 and cover(part, head) > 0.999
    assert heads[0, 1] == pytest.approx(0.18) and heads[1].tolist() == [0, 0, 1, 1]
    assert head_boxes(np.zeros((0, 5), np.float32)).shape == (0, 4)
