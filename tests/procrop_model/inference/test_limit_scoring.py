"""Limits of a crop: what is asked is kept, what cannot be kept is told, and what makes no sense is refused."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.core.errors import UsageError
from pipeline.core.geometry import cover
from pipeline.core.resources import bundled
from procrop_model.cropper import Cropper, Limits
from procrop_model.inference.crop_options import parse_aspects, parse_min_size, parse_region
from procrop_model.inference.image_input import Original
from procrop_model.inference.limit_scoring import CropConstraints, largest_window, windows

PHOTOS = bundled("assets") / "photos"


@pytest.fixture(scope="module")
def cropper() -> Cropper:
    torch.set_num_threads(1)
    return Cropper.load(bundled("assets") / "models" / "cropper", precision="fp32")


def left_disc(image: np.ndarray) -> np.ndarray:
    """A subject in the left fifth of the picture."""
    height, width = image.shape[:2]
    y, x = np.mgrid[:height, :width]
    return ((x / width - 0.1) ** 2 + (y / height - 0.5) ** 2 < 0.06**2).astype(np.float32)


def everything(image: np.ndarray) -> np.ndarray:
    return np.ones(image.shape[:2], np.float32)


@pytest.mark.parametrize("aspect", [None, "4:5", "16:9"])
def test_the_subject_stays_inside(cropper: Cropper, aspect: str | None) -> None:
    for crop in cropper(PHOTOS / "coffee.jpg", aspect=aspect, limits=Limits(subject=left_disc, share=0.95)):
        assert crop.fulfilled
        assert crop.subject_kept is not None
        assert crop.subject_kept >= 0.945
        assert crop.box_px[0] <= 0.07 * 600


def test_a_subject_that_cannot_be_kept_is_kept_as_far_as_can_be(cropper: Cropper) -> None:
    (crop,) = cropper(PHOTOS / "coffee.jpg", aspect="4:5", top=1, limits=Limits(subject=everything))
    width, height = (crop.box_px[2] - crop.box_px[0]) / 600, (crop.box_px[3] - crop.box_px[1]) / 400
    assert not crop.fulfilled
    assert width * height >= 0.97 * np.prod(largest_window(0.8, (600, 400))) - 0.01
    assert crop.subject_kept == pytest.approx(width * height, abs=0.01)


def test_a_picture_without_a_subject_has_no_such_limit(cropper: Cropper) -> None:
    nothing = Limits(subject=lambda image: np.zeros(image.shape[:2], np.float32))
    plain, limited = cropper(PHOTOS / "coffee.jpg"), cropper(PHOTOS / "coffee.jpg", limits=nothing)
    assert [c.box_px for c in plain] == [c.box_px for c in limited]
    assert limited[0].subject_kept is None


@pytest.mark.parametrize("aspect", [None, "1:1"])
def test_regions_lie_wholly_inside(cropper: Cropper, aspect: str | None) -> None:
    regions = [(3, 5, 60, 50), (200, 300, 260, 399)]
    for crop in cropper(PHOTOS / "coffee.jpg", aspect=aspect, limits=Limits(keep=regions)):
        assert crop.fulfilled
        for x1, y1, x2, y2 in regions:
            assert crop.box_px[0] <= x1
            assert crop.box_px[1] <= y1
            assert crop.box_px[2] >= x2
            assert crop.box_px[3] >= y2


def test_a_region_too_wide_for_the_aspect_gives_its_largest_part(cropper: Cropper) -> None:
    (crop,) = cropper(PHOTOS / "coffee.jpg", aspect="1:2", limits=Limits(keep=[(0, 0, 600, 400)]))
    assert not crop.fulfilled
    assert crop.box_px[3] - crop.box_px[1] >= 396


@pytest.mark.parametrize("least", ["500x300", 0.8])
def test_the_least_size_is_met(cropper: Cropper, least: str | float) -> None:
    for crop in cropper(PHOTOS / "coffee.jpg", limits=Limits(min_size=least)):
        width, height = crop.box_px[2] - crop.box_px[0], crop.box_px[3] - crop.box_px[1]
        assert crop.fulfilled
        assert (width >= 500 and height >= 300) if least == "500x300" else width * height >= 0.79 * 600 * 400


def test_more_pixels_than_there_are_is_told(cropper: Cropper) -> None:
    (crop,) = cropper(PHOTOS / "coffee.jpg", limits=Limits(min_size="5000x4000"))
    assert not crop.fulfilled


def test_an_image_stays_whole_unless_a_crop_wins_by_the_margin(cropper: Cropper) -> None:
    (left,) = cropper(PHOTOS / "coffee.jpg", limits=Limits(margin=1.0))
    assert left.unchanged
    assert left.box_px == (0, 0, 600, 400)
    assert left.score == pytest.approx(left.whole_score)
    (tall,) = cropper(PHOTOS / "coffee.jpg", aspect="4:5", limits=Limits(margin=1.0))
    assert tall.unchanged
    assert tall.box_px[3] - tall.box_px[1] == 400
    free = cropper(PHOTOS / "coffee.jpg", limits=Limits(margin=-1.0))
    assert not any(crop.unchanged for crop in free)


def test_a_set_of_aspects_gives_the_best_of_each(cropper: Cropper) -> None:
    crops = cropper(PHOTOS / "coffee.jpg", aspect="1:1,16:9,free")
    assert [round(crop.aspect, 2) for crop in crops[:2]] == [1.0, 1.78]
    assert len(crops) == 3
    assert crops[2].box_px == cropper(PHOTOS / "coffee.jpg", top=1)[0].box_px


def test_many_give_what_single_ones_give(cropper: Cropper) -> None:
    files = [PHOTOS / name for name in ("coffee.jpg", "friends.jpg")]
    limits = [Limits(), Limits(keep=[(0, 0, 20, 20)])]
    together = cropper.crop_many(files, aspect="4:5", limits=limits)
    for file, own, crops in zip(files, limits, together, strict=True):
        alone = cropper(file, aspect="4:5", limits=own)
        assert np.abs(np.array([c.box_px for c in crops]) - [c.box_px for c in alone]).max() <= 1
    assert cropper.crop_many([]) == []


def test_limits_that_make_no_sense() -> None:
    small = np.zeros((40, 60, 3), np.uint8)
    with pytest.raises(UsageError, match="not inside the picture"):
        CropConstraints(Limits(keep=[(0, 0, 700, 10)]), (600, 400), small)
    with pytest.raises(UsageError, match="share 2"):
        CropConstraints(Limits(share=2), (600, 400), small)
    for wrong in ("0", "2", "axb", "wide"):
        with pytest.raises(UsageError, match="min-size"):
            parse_min_size(wrong)
    for wrong in ("1,2,3", "5,5,1,9", "a,b,c,d"):
        with pytest.raises(UsageError, match="keep"):
            parse_region(wrong)
    with pytest.raises(UsageError, match="aspect"):
        parse_aspects("1:1,wide")


@pytest.mark.parametrize(("ratio", "size"), [(0.8, (600, 400)), (16 / 9, (40, 900)), (1.0, (7, 7))])
def test_windows_have_the_aspect_and_lie_inside(ratio: float, size: tuple[int, int]) -> None:
    boxes = np.array(list(windows(ratio, size)))
    assert boxes.min() >= 0
    assert boxes.max() <= 1 + 1e-9
    sides = (boxes[:, 2:] - boxes[:, :2]) * size
    np.testing.assert_allclose(sides[:, 0] / sides[:, 1], ratio, rtol=1e-6)


def test_only_a_written_crop_needs_the_full_decode(tmp_path: Path) -> None:
    path = tmp_path / "large.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(PHOTOS / "coffee.jpg").resize((2400, 1600)).save(path, exif=exif)
    original = Original(path)
    assert original.size == (1600, 2400)
    assert original.orientation == 6
    assert original.small(448).shape == (600, 400, 3)
    assert original._full is None
    full = np.asarray(original.full().resize((400, 600)), float)
    assert np.abs(full - original.small(448)).mean() < 4


def test_the_explanation_names_part_limit_and_reference(cropper: Cropper) -> None:
    region = (960.0, 10.0, 1010.0, 60.0)
    (crop,) = cropper(PHOTOS / "seeding.jpg", top=1, aspect="1:3", limits=Limits(keep=[region]))
    why = crop.explain()
    assert why.without_limits is not None
    cut = cover(region, why.without_limits) < 1
    assert ("cuts a region that must stay, so the frame was moved." in why.text) == cut
    assert ("is not 1:3, which was asked for." in why.text) != cut
    told = why.as_json()
    assert told["gain"] == pytest.approx(crop.score - crop.whole_score, abs=2e-4)
    assert {r["title"] for r in told["references"]} == {r["title"] for r in crop.references}
    weights = [reference.weight for reference in why.references]
    assert sum(weights) == pytest.approx(1, abs=1e-4) and weights == sorted(weights, reverse=True)
    assert re.match(r"It (keeps \d+ % of the photo|is the whole photo)", why.text.replace("%", " %"))
    assert f"'{why.references[0].reference.title}'" in why.text and 0 <= told["without_references"] <= 1
    drawn = crop.explain_picture(lambda reference: Image.new("RGB", (30, 20), "red"))
    assert (255, 0, 0) in {color for _, color in drawn.getcolors(1 << 24)}
    (alone,) = cropper(PHOTOS / "seeding.jpg", top=1, k=0)
    assert alone.explain().as_json()["references"] == [] and "No reference photographs" in alone.explain().text
    assert alone.explain_picture().width < drawn.width


def test_attention_adds_up_to_what_the_fusion_does(cropper: Cropper) -> None:
    """The weights of the explanation, applied to the values, give what the layer adds (heads differ, so for one head)."""
    from procrop_model.network.fusion import Fusion, References

    torch.manual_seed(0)
    fusion = Fusion(16, 1, 8, 4).eval()
    tokens, positions = torch.randn(2, 6, 16), torch.randn(2, 6, 16)
    references = References(torch.randn(2, 3, 4, 8), torch.rand(2, 3), torch.tensor([[True] * 3, [True, False, False]]))
    valid = torch.ones(2, 6, dtype=torch.bool)
    weights = fusion.weights(tokens, positions, valid, references).detach()  # [B, N, K, T]
    values, _, _ = fusion._references(references)
    added = fusion.gate * fusion.out(weights.flatten(2) @ values)
    torch.testing.assert_close(fusion(tokens, positions, valid, references), tokens + added, atol=1e-5, rtol=1e-4)
    assert float(weights[1, :, 1:].abs().max()) == 0.0
