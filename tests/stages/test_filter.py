"""Proposals, refinement and verdicts: what labels promise."""

import numpy as np
import pytest

from pipeline.core.errors import UsageError
from pipeline.core.geometry import cover, iou
from pipeline.shards import parquet
from stages.publishing.shard_assignment import assign_shards, shards_by_split
from tests.chain import make_photos, recipe_for, run_chain, session_for


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    home = tmp_path_factory.mktemp("labels")
    made = session_for(
        recipe_for(make_photos(home / "src", 12), filter={"min_own_subject": 0.0, "max_cut_subject": 1.0}),
        home / "work",
    )
    run_chain(made, until="filter")
    return made


def rows(session, stage):
    return {row["key"]: row for shard in range(3) for row in parquet.kept(session.run.rows(stage, shard))}


def test_proposals_begin_with_the_pseudo_label_on_the_canvas(session):
    canvases = rows(session, "outpaint")
    found = rows(session, "propose")
    assert len(found) == len(canvases) > 20
    for key, row in found.items():
        canvas = canvases[key]
        assert row["boxes"][0] == canvas["photo_box"] and row["origins"][0] == "photo"
        boxes = np.array(row["boxes"])
        assert (
            (boxes[:, :2] >= 0).all()
            and (boxes[:, 2] <= canvas["width"]).all()
            and (boxes[:, 3] <= canvas["height"]).all()
        )
        assert len(boxes) == len(row["origins"]) > 10
    origins = {origin for row in found.values() for origin in row["origins"]}
    assert origins == {"photo", "jitter", "aspect", "subject", "grid"}


def test_rounds_keep_the_pseudo_label_and_never_lose_score(session):
    canvases = rows(session, "outpaint")
    first, second = rows(session, "refine/round-01"), rows(session, "refine/round-02")
    for key, row in second.items():
        assert row["boxes"][0] == first[key]["boxes"][0] == canvases[key]["photo_box"]
        assert row["scores"][0] == first[key]["scores"][0]
        assert row["gain"] >= 0 and first[key]["gain"] >= 0
        assert max(row["scores"]) >= max(first[key]["scores"])
        if not first[key]["active"]:
            assert row["boxes"] == first[key]["boxes"] and row["gain"] == 0 and not row["active"]
    assert np.mean([row["gain"] for row in first.values()]) > 0.05
    beams = [row["boxes"] for row in second.values()]
    assert all(iou(a, b) < 0.8 for beam in beams for i, a in enumerate(beam) for b in beam[:i])


def test_every_box_of_a_beam_covers_the_pseudo_label(session):
    least = session.recipe.refine.min_cover
    found = rows(session, "refine/round-02")
    covers = [cover(row["boxes"][0], box) for row in found.values() for box in row["boxes"][1:]]
    assert len(covers) > len(found) and min(covers) >= least - 1e-9


def test_verdicts_keep_distinct_crops_that_pass_every_rule(session):
    settings = session.recipe.filter
    found = rows(session, "filter")
    assert sum(len(row["boxes"]) for row in found.values()) > len(found)
    for row in found.values():
        boxes = row["boxes"]
        assert 1 <= len(boxes) <= settings.max_crops + 1 and row["origins"][0] == "photo"
        assert min(row["scores"]) >= row["scores"][0] - settings.crop_margin
        for i, box in enumerate(boxes[1:], 1):
            assert cover(boxes[0], box) >= settings.min_cover
            assert all(iou(box, other) < settings.distinct_iou for other in boxes[:i])


@pytest.mark.parametrize("shards", [3, 7, 40, 100])
def test_exactly_the_number_of_shards_and_none_empty(shards):
    found = [{"key": f"k{i:04d}", "split": "train" if i % 10 else ("val" if i % 20 else "test")} for i in range(100)]
    parts = [found[:33], found[33:34], [], found[34:]]
    into = filled(parts, shards)
    assert len(into) == shards and all(into.values())
    assert sorted(key for placed in into.values() for key in placed) == sorted(row["key"] for row in found)
    split_of = {row["key"]: row["split"] for row in found}
    for stem, placed in into.items():
        assert {split_of[key] for key in placed} == {stem.split("-")[1]}
    assert into == filled([found[::-1]], shards)


def filled(parts, shards):
    """Keys of each final shard, in their places."""
    assigned = assign_shards(((column(p, "key"), column(p, "split")) for p in parts), shards, 0, "x")
    into = {stem: {} for stem in assigned.stems}
    for part, places in zip(parts, assigned.places, strict=True):
        for row, (number, place) in zip(part, places.tolist(), strict=True):
            assert place not in into[assigned.stems[number]]
            into[assigned.stems[number]][place] = row["key"]
    assert all(sorted(placed) == list(range(len(placed))) for placed in into.values())
    return {stem: [placed[i] for i in range(len(placed))] for stem, placed in into.items()}


def column(rows, name):
    return [row[name] for row in rows]


def test_impossible_numbers_say_what_is_possible():
    with pytest.raises(UsageError, match="12 samples in 2 splits fill 2 to 12 shards"):
        shards_by_split({"train": 10, "val": 2}, 13)
    with pytest.raises(UsageError, match="fill 2 to 12"):
        shards_by_split({"train": 10, "val": 2}, 1)
    assert shards_by_split({"train": 10, "val": 2}, 64, exact=False) == {"train": 10, "val": 2}
    with pytest.raises(UsageError, match="no shard holds two splits"):
        shards_by_split({"train": 10, "val": 2}, 1, exact=False)
    with pytest.raises(UsageError, match="no canvas passed"):
        shards_by_split({"train": 0}, 1)
