"""A trained cropper's boxes join the first round, are judged by the scorer alone, and make a new version of the labels."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.app.run_stages import RunRequest, recipe_overrides
from pipeline.core.errors import ModelError, RefusedError
from pipeline.core.resources import bundled
from stages.backends.proposers.cropper import CropperBoxes
from stages.backends.scorers.perceiving import score_images
from tests.chain import kept_rows, make_photos, recipe_for, run_chain, session_for
from tests.fakes import FakeScorer

MODEL = str(bundled("assets") / "models" / "cropper")
REFINE = {"rounds": 1, "beam": 90, "moves": 1, "distinct_iou": 1.0}  # keeps every candidate


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_photos(tmp_path_factory.mktemp("photos"), 3)


@pytest.fixture(scope="module")
def versions(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict], list[dict]]:
    """A run directory, its labels without a cropper, and those of the version with one."""
    work = tmp_path_factory.mktemp("versions") / "work"
    small = {"work_shards": 1, "outpaint": {"variants": 1, "held_out_variants": 1}}
    plain = session_for(recipe_for(photos, refine=REFINE, **small), work)
    run_chain(plain, until="filter")
    before = kept_rows(plain, "refine/round-01")
    recipe = recipe_for(photos, refine={**REFINE, "cropper": MODEL, "cropper_boxes": 5}, **small)
    with pytest.raises(RefusedError, match=r"cropper.*--accept-change"):
        run_chain(session_for(recipe, work), until="filter")
    run_chain(session_for(recipe, work), until="filter", accept_change=True)
    return work, before, kept_rows(session_for(recipe, work), "refine/round-01")


def test_the_old_version_stays_and_the_new_one_names_the_cropper(versions) -> None:
    work, _, _ = versions
    receipts = [work / part / "refine" / "round-01" / "000000.receipt.json" for part in ("lineage/001", ".")]
    old, new = (json.loads(path.read_text())["recipe"] for path in receipts)
    assert "cropper" not in old["models"] and "cropper_boxes" not in old["settings"]
    assert new["models"]["cropper"] == CropperBoxes(MODEL, 5).digest
    assert (work / "lineage" / "001" / "filter").is_dir() and not (work / "lineage" / "001" / "propose").exists()


def test_the_pseudo_label_stays_and_every_score_is_the_scorers(versions) -> None:
    work, before, after = versions
    labels = {row["key"]: row["boxes"][0] for row in before}
    assert {row["key"]: row["boxes"][0] for row in after} == labels
    assert {origin.split("+")[0] for row in after for origin in row["origins"]} >= {"photo", "cropper"}
    assert not any("cropper" in origin for row in before for origin in row["origins"])
    sizes = {row["key"]: (row["height"], row["width"], 3) for row in _canvases(work)}
    for row in after:
        (scores,) = score_images(FakeScorer(), [np.zeros(sizes[row["key"]], np.uint8)], [row["boxes"]])
        assert row["scores"] == pytest.approx(scores.tolist(), abs=1e-5)
        height, width, _ = sizes[row["key"]]
        assert all(0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height for x1, y1, x2, y2 in row["boxes"])


def _canvases(work: Path) -> list[dict]:
    return kept_rows(session_for(recipe_for(Path("unused"), work_shards=1), work), "outpaint")


def test_no_canvas_is_guided_by_its_own_photo() -> None:
    from procrop_model import Cropper

    entries = list(Cropper.load(MODEL).database.entries)
    rng = np.random.default_rng(0)
    image = np.array(Image.fromarray(rng.integers(0, 255, (6, 8, 3), np.uint8)).resize((96, 72)))
    seen: list[set[str]] = []

    class Watched:
        def propose(self, images, exclude):
            seen.extend(exclude)
            return Cropper.load(MODEL, precision="fp32").propose(images, exclude=exclude)

    boxes = CropperBoxes(MODEL, 3)
    boxes._cropper = Watched()
    own = {entries[0].photo}
    alone, together = boxes.propose([image], [own]), boxes.propose([image[:, ::-1].copy(), image], [set(), own])
    assert seen == [own, set(), own]
    assert len(alone[0]) == 3
    np.testing.assert_array_equal(alone[0], together[1])


def test_the_digest_follows_weights_not_the_path_or_history(tmp_path: Path) -> None:
    shutil.copytree(MODEL, tmp_path / "copy")
    assert CropperBoxes(str(tmp_path / "copy"), 3).digest == CropperBoxes(MODEL, 3).digest
    config = tmp_path / "copy" / "config.json"
    about = json.loads(config.read_text())
    config.write_text(json.dumps({**about, "trained": {"told": "otherwise"}}))
    assert CropperBoxes(str(tmp_path / "copy"), 3).digest == CropperBoxes(MODEL, 3).digest
    shutil.copytree(MODEL, tmp_path / "other")
    with (tmp_path / "other" / "model.safetensors").open("ab") as file:
        file.write(b"x")
    assert CropperBoxes(str(tmp_path / "other"), 3).digest != CropperBoxes(MODEL, 3).digest


def test_a_folder_without_a_cropper_stops_the_command_at_once(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no cropper in"):
        recipe_overrides(RunRequest(with_model=str(tmp_path)))
    assert recipe_overrides(RunRequest()) == []
    assert recipe_overrides(RunRequest(with_model=MODEL)) == [f'refine.cropper="{Path(MODEL).resolve()}"']
