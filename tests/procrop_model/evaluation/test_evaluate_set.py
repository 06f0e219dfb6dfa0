"""Protocols on miniature sets, with a stand-in cropper whose answers are known."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import DamagedDataError, UsageError
from pipeline.core.geometry import displacement, iou
from procrop_model.datasets.labelled import LabelledImage, LabelledSet, Pair
from procrop_model.datasets.registry import DATASETS
from procrop_model.evaluation.baselines import finders
from procrop_model.evaluation.box_statistics import MEASURES
from procrop_model.evaluation.evaluate_set import SetContext, evaluate_set
from procrop_model.evaluation.judges import PROTOCOLS
from procrop_model.evaluation.metrics import crop_metrics
from procrop_model.evaluation.rank_metrics import gaic_metrics, srcc
from procrop_model.evaluation.sources import CropperSource, GivenBoxes
from tests.miniature_sets import MAKERS, TALL, WIDE, picture


class ScriptedCropper:
    """Proposes one box a picture size, and scores a box by its area."""

    states_chances = True

    def __init__(self, boxes: dict[tuple[int, int], list[list[float]]] | None = None) -> None:
        self.boxes, self.excluded = boxes or {}, []

    def propose(self, images, *, k=None, exclude=None):
        self.excluded += exclude or []
        found = [
            np.array(self.boxes.get((i.shape[1], i.shape[0]), [[0, 0, i.shape[1], i.shape[0]]]), np.float32)
            for i in images
        ]
        return found, [np.linspace(0.9, 0.1, len(boxes)).astype(np.float32) for boxes in found]

    def score_boxes(self, images, boxes):
        return [np.array([(b[2] - b[0]) * (b[3] - b[1]) for b in rows], np.float32) for rows in boxes]


def measure(cropper: ScriptedCropper, found: LabelledSet, protocol: str, **context) -> dict:
    return evaluate_set(CropperSource(cropper), found, protocol, context=SetContext(**context))


def one(tmp_path: Path, boxes, scores=None, pairs=(), size=WIDE) -> LabelledSet:
    path = picture(tmp_path / f"{len(boxes)}.jpg", size)
    image = LabelledImage(
        "n.jpg", path, "test", *size, tuple(boxes), tuple(scores or [10.0] * len(boxes)), tuple(pairs)
    )
    return LabelledSet("made", [image])


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_every_set_is_measured_by_its_own_protocol(name: str, tmp_path: Path) -> None:
    form = DATASETS[name]
    found = form.read(MAKERS[name](tmp_path), form.split)
    result = measure(ScriptedCropper(), found, form.protocol, finders=finders())
    near = ["near_centre"] if form.protocol == "fcdb_pairs" else []
    assert list(result["rows"]) == ["model", "identity", "centre_0.9", "smartcrop", *near]
    assert result["protocol"] == PROTOCOLS[form.protocol] and result["n"] == len(result["images"]) > 0
    for row in result["rows"].values():
        for mean, low, high in row.values():
            assert low <= mean <= high
    if form.protocol != "gaic" and form.protocol != "fcdb_pairs":
        assert result["rows"]["model"] == result["rows"]["identity"]


def test_cacnet_takes_the_annotation_of_best_iou_for_both(tmp_path: Path) -> None:
    wanted, near = (10.0, 10.0, 60.0, 50.0), (12.0, 10.0, 96.0, 60.0)
    found = one(tmp_path, [near, wanted])
    cropper = ScriptedCropper({WIDE: [[10, 10, 58, 50]]})
    row = measure(cropper, found, "cacnet")["images"][0]["model"]
    box = (10, 10, 58, 50)
    assert row["iou"] == pytest.approx(iou(box, wanted)) and row["recall"] == 1.0
    assert row["bde"] == pytest.approx(displacement(box, wanted, *WIDE)) == pytest.approx(2 / 96 / 4)


def test_equal_ious_are_settled_by_the_smaller_displacement() -> None:
    left, right = (0, 0, 50, 40), (25, 0, 75, 40)
    told = crop_metrics((0, 0, 75, 40), [left, right], 100, 40)
    assert told.iou == pytest.approx(2 / 3) and told.bde == pytest.approx(25 / 100 / 4)
    below, beside = (0, 0, 20, 40), (0, 0, 40, 20)  # the same IoU, but sides of 80 and 40 pixels
    told = crop_metrics((0, 0, 40, 40), [below, beside], 80, 40)
    assert told.iou == 0.5 and told.bde == pytest.approx(20 / 80 / 4)


def test_gaic_ranks_given_crops_and_a_box_ranks_by_its_overlap(tmp_path: Path) -> None:
    boxes = [(0.0, 0.0, 96.0, 60.0), (0.0, 0.0, 80.0, 60.0), (0.0, 0.0, 50.0, 40.0), (5.0, 5.0, 20.0, 20.0)]
    found = one(tmp_path, boxes, [4.0, 3.0, 2.0, 1.0])
    result = measure(ScriptedCropper(), found, "gaic")
    assert result["rows"]["model"]["srcc"] == [1.0, 1.0, 1.0] == result["rows"]["identity"]["srcc"]
    assert result["rows"]["model"]["acc1_5"] == [1.0, 1.0, 1.0]
    assert {"wacc1_5", "wacc4_10", "avg5", "avg10", "pcc"} <= set(result["rows"]["model"])


def test_gaic_figures_of_images_are_those_of_the_whole(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pairs = [(rng.integers(1, 5, 12).astype(float), rng.integers(0, 4, 12).astype(float)) for _ in range(5)]
    assert gaic_metrics(pairs)["srcc"] == pytest.approx(np.mean([srcc(*pair) for pair in pairs]))
    assert gaic_metrics([]) == {}


def test_ranks_with_ties_agree_with_scipy() -> None:
    from scipy.stats import spearmanr

    rng = np.random.default_rng(1)
    for _ in range(20):
        a, b = rng.integers(0, 4, 15).astype(float), rng.integers(0, 4, 15).astype(float)
        assert srcc(a, b) == pytest.approx(spearmanr(a, b).statistic)


def test_eps_acc_wants_the_single_best_annotation(tmp_path: Path) -> None:
    best, other = (0.0, 0.0, 48.0, 60.0), (0.0, 0.0, 96.0, 60.0)
    found = one(tmp_path, [other, best], [3.0, 4.5])
    cropper = ScriptedCropper({WIDE: [[60, 0, 96, 60]] * 6 + [[0, 0, 48, 60]]})
    row = measure(cropper, found, "eps_acc")["rows"]
    assert row["model"]["eps_acc5_90"][0] == 0.0 and row["model"]["eps_acc10_90"][0] == 1.0
    assert row["model"]["ap"][0] == pytest.approx(1 / 7, abs=1e-4) and row["identity"]["ap"][0] == 0.0


def test_pairs_are_counted_by_votes_without_equal_votes(tmp_path: Path) -> None:
    large, small = (0.0, 0.0, 90.0, 60.0), (0.0, 0.0, 20.0, 20.0)
    pairs = [Pair(large, small, 4, 1), Pair(small, large, 3, 2), Pair(small, large, 2, 2)]
    found = one(tmp_path, [], pairs=pairs)
    assert measure(ScriptedCropper(), found, "fcdb_pairs")["rows"]["model"]["agreement"][0] == 0.5
    with pytest.raises(UsageError, match="no picture that the protocol 'fcdb_pairs' can judge"):
        measure(ScriptedCropper(), one(tmp_path, [], pairs=pairs[2:]), "fcdb_pairs")


def test_equal_area_pairs_are_counted_beside_all(tmp_path: Path) -> None:
    left, right, large = (0.0, 0.0, 40.0, 30.0), (50.0, 10.0, 90.0, 40.0), (0.0, 0.0, 96.0, 60.0)
    nearly = (50.0, 10.0, 90.0, 39.0)  # 1160 of 1200 pixels
    pairs = [Pair(left, right, 5, 0), Pair(nearly, left, 0, 5), Pair(left, right, 2, 3), Pair(large, left, 5, 0)]
    result = measure(ScriptedCropper(), one(tmp_path, [], pairs=pairs), "fcdb_pairs")
    assert result["pairs"] == {"agreement": 4, "equal_area": 3, "equal_area_unanimous": 2}
    model = {name: values[0] for name, values in result["rows"]["model"].items()}
    assert model == {"agreement": 0.75, "equal_area": 0.6667, "equal_area_unanimous": 0.75}  # ties count a half
    # centres of 96 x 60: left (20, 15), right (70, 25), nearly (70, 24.5), large (48, 30); all others are nearer than left
    assert [result["rows"]["near_centre"][kind][0] for kind in model] == [0.5, 0.3333, 0.0]
    less = measure(ScriptedCropper(), one(tmp_path, [], pairs=pairs[3:]), "fcdb_pairs")
    assert list(less["rows"]["model"]) == ["agreement"]
    assert less["differences"]["identity"]["agreement"] == [0.0, 0.0, 0.0]


def several(tmp_path: Path, boxes) -> LabelledSet:
    images = [
        LabelledImage(f"{i}.jpg", picture(tmp_path / f"{i}.jpg", WIDE, i), "test", *WIDE, (box,), (10.0,))
        for i, box in enumerate(boxes)
    ]
    return LabelledSet("made", images)


def test_figures_that_show_what_was_learned(tmp_path: Path) -> None:
    boxes = [(0.0, 0.0, 48.0, 30.0), (0.0, 0.0, 96.0, 36.0), (0.0, 0.0, 96.0, 60.0)]  # 0.25, 0.6 and 1 of the picture
    cropper = ScriptedCropper({WIDE: [[0, 0, 48, 60]]})
    result = measure(cropper, several(tmp_path, boxes), "cacnet", floors={"half": (0, 0, 0.5, 1)})
    assert [(row["n"], row["iou"]["model"][0]) for row in result["by_size"]] == [(1, 0.5), (1, 0.375), (1, 0.5)]
    assert result["areas"]["person"][1] == 0.6 and result["areas"]["model"] == [0.5, 0.5, 0.5]
    assert set(result["correlations"]) == {"model", "identity", "centre_0.9", "half"}
    assert result["correlations"]["model"]["area"] is None  # the same crop in all pictures
    assert result["rows"]["half"] == result["rows"]["model"] and result["floors"] == {"half": [0, 0, 0.5, 1]}
    assert [(row["area"], row["person_area"]) for row in result["images"]] == [(0.5, 0.25), (0.5, 0.6), (0.5, 1.0)]


def test_crops_that_follow_the_person_correlate(tmp_path: Path) -> None:
    boxes = [(4.0 * i, 2.0 * (i % 2), 50.0 + 9 * i, 40.0 + 3 * i) for i in range(5)]
    found = several(tmp_path, boxes)
    given = GivenBoxes({image.path: [image.boxes[0]] for image in found.images})
    result = evaluate_set(given, found, "cacnet")
    assert {name: values[0] for name, values in result["correlations"]["model"].items()} == dict.fromkeys(MEASURES, 1.0)
    assert result["rows"]["model"]["iou"] == [1.0, 1.0, 1.0]


def test_several_people_are_averaged_for_correlations(tmp_path: Path) -> None:
    found = one(tmp_path, [(0.0, 0.0, 48.0, 60.0), (0.0, 0.0, 96.0, 30.0)])
    (row,) = measure(ScriptedCropper(), found, "cacnet")["images"]
    assert row["person_area"] == 0.5625  # of the mean box (0, 0, 72, 45)


def test_groups_are_reported_apart(tmp_path: Path) -> None:
    found = several(tmp_path, [(0.0, 0.0, 48.0, 60.0), (0.0, 0.0, 96.0, 60.0), (0.0, 0.0, 24.0, 60.0)])
    groups = {found.images[0].path: "people", found.images[1].path: "nobody"}
    result = measure(ScriptedCropper(), found, "cacnet", groups=groups)["groups"]
    assert {name: (group["n"], group["rows"]["model"]["iou"][0]) for name, group in result.items()} == {
        "nobody": (1, 1.0), "people": (1, 0.5),
    }  # fmt: skip


def test_a_picture_is_never_its_own_reference(tmp_path: Path) -> None:
    found, cropper = one(tmp_path, [(0.0, 0.0, 50.0, 50.0)], size=TALL), ScriptedCropper()
    measure(cropper, found, "cacnet", keys={found.images[0].path: "abc"})
    assert cropper.excluded == [{"abc"}]


def test_refusals(tmp_path: Path) -> None:
    found = one(tmp_path, [(0.0, 0.0, 50.0, 50.0)])
    with pytest.raises(UsageError, match="no protocol 'iou': known are gaic, cacnet"):
        measure(ScriptedCropper(), found, "iou")
    found.images[0].path.write_bytes(found.images[0].path.read_bytes()[:200])
    with pytest.raises(DamagedDataError, match="expected a picture"):
        measure(ScriptedCropper(), found, "cacnet")


def test_faces_are_counted_and_pictures_with_them_reported_apart(tmp_path: Path) -> None:
    images = [
        one(tmp_path, [(0.0, 0.0, 50.0, 40.0)]).images[0],
        one(tmp_path, [(0.0, 0.0, 50.0, 40.0)] * 2, size=TALL).images[0],
    ]
    face = np.array([[0.4, 0.3, 0.6, 0.7, 0.9]], np.float32)
    finder = lambda pixels: face if pixels.shape[1] > pixels.shape[0] else face[:0]  # noqa: E731
    cropper = ScriptedCropper({WIDE: [[0, 0, WIDE[0] / 2, WIDE[1]]]})
    result = measure(cropper, LabelledSet("made", images), "cacnet", faces=finder)
    assert result["faces"]["pictures"] == result["faces"]["faces"] == 1
    rows = result["faces"]["rows"]
    assert rows["model"]["faces_cut"][0] == 1 and rows["identity"]["faces_cut"][0] == 0
    assert {name: group["n"] for name, group in result["groups"].items()} == {"with faces": 1, "without faces": 1}
    assert "faces" not in measure(cropper, LabelledSet("made", images), "cacnet")
