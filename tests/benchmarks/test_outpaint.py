"""The out-painting bench: its measures are 0 on the truth, its probe is blind where there is nothing to see."""

import json
from importlib.util import find_spec

import numpy as np
import pytest

from benchmarks.outpaint import difference, main
from benchmarks.outpaint_cases import Case, visible
from benchmarks.outpaint_measures import FeatureDistance, seam, strips
from benchmarks.outpaint_peers import pasted, peers, reflection
from benchmarks.seam_probe import area, auc_by_photo, windows
from stages.backends.base.protocols import PaintRequest
from stages.backends.outpainters.small_diffusion.network import build_scheduler, build_unet
from stages.backends.outpainters.small_diffusion.pipeline import SmallInpaintPipeline

BOX, SIZE = (20, 16, 76, 60), (96, 76)


def textured(seed):
    rng = np.random.default_rng(seed)
    coarse = np.kron(rng.integers(40, 215, (19, 24, 3)), np.ones((4, 4, 1)))
    return np.clip(coarse + rng.normal(0, 8, coarse.shape), 0, 255).astype(np.uint8)


def case(seed=0):
    truth = textured(seed)
    x1, y1, x2, y2 = BOX
    return Case(f"photo-{seed}", truth, (PaintRequest(truth[y1:y2, x1:x2], None, BOX, SIZE, seed),))


def test_the_truth_is_at_no_distance_and_a_flat_border_is():
    one = case()
    distance, flat = FeatureDistance([one]), pasted(np.full_like(one.truth, 128), one.requests[0])
    truth = distance.of(one.truth)
    assert distance.paired(truth, truth, one.hidden) == distance.texture(truth, truth, one.hidden) == 0
    assert distance.paired(distance.of(flat), truth, one.hidden) > 0.2
    assert distance.texture(distance.of(flat), truth, one.hidden) > 0.2
    assert seam(one.truth, one.truth, BOX) == (0, 0)
    assert min(seam(flat, one.truth, BOX)) > 1


def test_strips_start_in_the_photo_on_all_sides():
    image = np.zeros((*SIZE[::-1], 3), np.uint8)
    image[BOX[1] : BOX[3], BOX[0] : BOX[2]] = 200
    found = strips(image, BOX, 8)
    assert [len(strip) for strip in found] == [56, 56, 44, 44]
    assert all((strip[:, :8] == 200).all() and (strip[:, 8:] == 0).all() for strip in found)
    assert len(strips(image, (0, 0, 76, 60), 8)) == 2


def test_area_under_the_curve_counts_ties_half():
    assert area(np.array([1.0, 2.0]), np.array([0.0, 0.5])) == 1
    assert area(np.array([1.0, 1.0]), np.array([1.0, 1.0])) == 0.5
    assert area(np.array([1.0, 3.0]), np.array([2.0])) == 0.5


def test_the_probe_finds_a_hard_frame_and_nothing_in_the_truth():
    all_cases = [case(seed) for seed in range(5)]
    flat = {c.photo: [windows(pasted(np.full_like(c.truth, 128), c.requests[0]), BOX)] for c in all_cases}
    true = {c.photo: [windows(c.truth, BOX)] for c in all_cases}
    assert min(auc_by_photo(flat, true).values()) > 0.95
    assert auc_by_photo(true, true) == pytest.approx({c.photo: 0.5 for c in all_cases})


def test_reflection_mirrors_the_photo_at_its_frame():
    one = case()
    canvas = reflection(one.requests[0])
    np.testing.assert_array_equal(canvas[15, 20:76], one.truth[16, 20:76])
    np.testing.assert_array_equal(canvas[:, 18], canvas[:, 21])
    assert canvas.shape == one.truth.shape


def test_a_difference_above_zero_says_that_ours_is_closer():
    ours = {"a": 1.0, "b": 2.0, "c": 1.5}
    mean, low, high = difference(ours, {"a": 1.5, "b": 2.2, "c": 1.9})
    assert 0.2 <= low < mean < high <= 0.5
    assert difference(ours, ours) == (0, 0, 0)


@pytest.mark.parametrize("middle", [True, False])
def test_the_visible_part_is_within_the_photograph(middle):
    for number in range(50):
        x1, y1, x2, y2 = visible(96, 64, f"x {number}", middle=middle)
        assert 0 <= x1 < x2 <= 96
        assert 0 <= y1 < y2 <= 64


@pytest.mark.long
def test_the_bench_ends_with_a_result_and_says_what_is_absent(capsys, tmp_path):
    SmallInpaintPipeline(build_unet(16, 8), build_scheduler()).save_pretrained(tmp_path)
    main(["--side", "64", "--layouts", "1", "--seeds", "1", "--splits", "val", "--learned", str(tmp_path)])
    last = capsys.readouterr().out.splitlines()[-1]
    told = json.loads(last.removeprefix("RESULT "))
    assert told["bench"] == "outpaint"
    assert told["runs"] == 3
    assert set(told["measures"]) == {"ours", "small", "small+patch", *peers()[0]}
    assert set(told["worse_by"]["reflection"]) == {"features", "texture", "colour", "gradient", "seam_auc"}
    if find_spec("cv2") is None:
        assert told["absent"] == ["telea", "shift-map"]
