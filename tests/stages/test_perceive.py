"""Each picture is seen once: later stages read what was perceived, and scores from it are those of the pixels."""

import hashlib
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.core.records import MASK_SIDE, Perception
from pipeline.core.resources import bundled
from pipeline.shards import parquet
from stages.backends.base.picture import LazyPicture, mask_grid, pack_maps, unpack_maps, unpack_mask
from stages.backends.scorers.composition import CompositionScorer
from stages.backends.scorers.perceiving import score_images
from stages.canvases.canvas_faces import CanvasFaces, invented_face
from tests.chain import kept_rows, make_photos, recipe_for, run_chain, session_for
from tests.fakes import FakeEncoder, FakeFaces, FakeScorer, FakeSegmenter

ROOT = Path(__file__).resolve().parents[2]


def note(log: str, model: str, images) -> None:
    """One line an image, from whatever process."""
    with open(log, "a", encoding="ascii") as file:
        for image in images:
            file.write(f"{model} {hashlib.sha256(image.tobytes()).hexdigest()}\n")


@dataclass
class CountedSegmenter(FakeSegmenter):
    log: str = ""

    def segment(self, images):
        note(self.log, "segment", images)
        return super().segment(images)


@dataclass
class CountedEncoder(FakeEncoder):
    log: str = ""

    def encode(self, images):
        note(self.log, "encode", images)
        return super().encode(images)


@dataclass
class MapScorer(FakeScorer):
    """Judges from its maps alone; a picture without them, or a request for pixels, is an error."""

    log: str = ""

    def digest_of_maps(self):
        return "maps0001"

    def perceive(self, images, masks, segmenter):
        note(self.log, "perceive", images)
        assert segmenter == FakeSegmenter().digest and all(mask.shape == (MASK_SIDE, MASK_SIDE) for mask in masks)
        return [{"mean": image.mean((0, 1)).astype(np.float16).reshape(3, 1, 1)} for image in images]

    def score(self, pictures, boxes):
        assert all(picture.maps["mean"].shape == (3, 1, 1) for picture in pictures)
        assert all("image" not in vars(picture) for picture in pictures)
        return super().score(pictures, boxes)


def counted_session(photos: Path, work: Path):
    log = str(work) + ".log"
    models = {
        "segmenter": CountedSegmenter(log=log),
        "encoder": CountedEncoder(log=log),
        "scorer": MapScorer(log=log),
    }
    return session_for(recipe_for(photos), work, **models), Path(log)


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    return make_photos(tmp_path_factory.mktemp("photos"), 10)


@pytest.fixture(scope="module")
def finished(photos, tmp_path_factory):
    session, log = counted_session(photos, tmp_path_factory.mktemp("run") / "work")
    run_chain(session, workers=2)
    return session, log


def test_every_model_sees_each_picture_once(finished):
    session, log = finished
    seen = [tuple(line.split()) for line in log.read_text().splitlines()]
    assert max(Counter(seen).values()) == 1
    ingested, painted = len(kept_rows(session, "ingest")), len(kept_rows(session, "outpaint"))
    assert painted > ingested > 5
    assert Counter(model for model, _ in seen) == {
        "segment": ingested + painted, "encode": ingested + painted, "perceive": painted,
    }  # fmt: skip


def test_features_of_embed_are_those_of_perceive(finished):
    session, _ = finished
    names = ("perceive/photos", "perceive/canvases")
    perceived = {row["key"]: row for stage in names for row in kept_rows(session, stage)}
    rows = kept_rows(session, "embed")
    kept = [row["key"] for stage in ("ingest", "filter") for row in kept_rows(session, stage)]
    assert sorted(row["key"] for row in rows) == sorted(kept)
    for row in rows:
        assert all(row[name] == perceived[row["key"]][name] for name in ("photo", "kind", "vector", "tokens", "grid_h"))


def test_photos_have_no_maps_and_canvases_have(finished):
    session, _ = finished
    assert all(row["maps"] == b"" and row["map_names"] == [] for row in kept_rows(session, "perceive/photos"))
    for row in kept_rows(session, "perceive/canvases"):
        assert row["map_names"] == ["mean"] and row["map_shapes"] == [3, 1, 1] and len(row["maps"]) == 6
        assert unpack_mask(row["mask"]).max() == 255


def files(work: Path) -> dict[str, bytes]:
    paths = sorted(path for path in work.rglob("*.parquet") if ".cache" not in path.parts)
    return {str(path.relative_to(work)): path.read_bytes() for path in paths}


@pytest.mark.long
def test_one_worker_and_two_give_the_same_bytes(finished, photos, tmp_path):
    session, _ = counted_session(photos, tmp_path / "work")
    run_chain(session, workers=1)
    assert files(tmp_path / "work") == files(Path(finished[0].run.store.local_root))


@pytest.mark.long
def test_a_killed_run_goes_on_to_the_same_bytes(finished, photos, tmp_path):
    work, script = tmp_path / "work", tmp_path / "go.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from pathlib import Path\n"
        "from tests.chain import run_chain\n"
        "from tests.stages.test_perceive import counted_session\n"
        "if __name__ == '__main__':\n"
        f"    run_chain(counted_session(Path({str(photos)!r}), Path({str(work)!r}))[0], workers=2)\n"
    )
    process = subprocess.Popen([sys.executable, str(script)], start_new_session=True)
    deadline = time.monotonic() + 120
    while not list(work.glob("perceive/*/*.receipt.json")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    run_chain(counted_session(photos, work)[0], workers=2)
    assert files(work) == files(Path(finished[0].run.store.local_root))


def test_another_scorer_is_refused_before_perceiving(finished, photos):
    session, _ = finished
    stages = {stage.name: stage for stage in session.stages}
    assert stages["perceive/canvases"].models()["scorer"] == "maps0001"
    assert set(stages["perceive/photos"].models()) == {"segmenter", "encoder"}
    assert "scorer" not in session_for(recipe_for(photos), Path(session.run.store.local_root)).stages[5].models()


@pytest.fixture(scope="module")
def bird() -> np.ndarray:
    with Image.open(bundled("assets") / "photos" / "kleiber.jpg") as photo:
        return np.asarray(photo.convert("RGB").resize((240, 150)))


def stored(picture: LazyPicture, mask: np.ndarray, maps) -> LazyPicture:
    """A picture as a later stage reads it: through the bytes of a record, without pixels."""

    def pixels():
        raise AssertionError("pixels were read")

    data, names, shapes = pack_maps(maps)
    row = Perception("k", "p", "canvas", mask.tobytes(), b"", b"", 0, 0, data, names, shapes)
    return LazyPicture(picture.size, pixels, unpack_mask(row.mask), unpack_maps(row))


@pytest.mark.parametrize("segmenter", ["", "another segmenter"])
def test_scores_from_maps_are_those_from_pixels(bird: np.ndarray, segmenter: str) -> None:
    scorer = CompositionScorer()
    rng = np.random.default_rng(0)
    start = rng.uniform(0, 0.5, (30, 2))
    boxes = (np.concatenate([start, start + 0.4], 1) * [240, 150, 240, 150]).astype(np.float32)
    mask = np.zeros((MASK_SIDE, MASK_SIDE), np.uint8)
    if not segmenter:
        mask = mask_grid(scorer.segmenter.network_masks([bird])[0])
    (maps,) = scorer.perceive([bird], [mask], segmenter or scorer.segmenter.digest)
    assert ("mask" in maps) == bool(segmenter)
    (scores,) = scorer.score([stored(LazyPicture.of(bird), mask, maps)], [boxes])
    assert np.array_equal(scores, score_images(CompositionScorer(), [bird], [boxes])[0])


def test_maps_of_another_scorer_are_not_used(bird: np.ndarray) -> None:
    scorer, boxes = CompositionScorer(), np.array([[10, 10, 120, 100]], np.float32)
    foreign = {f"level{level}-12345678": np.zeros((16, 9, 9), np.float16) for level in (1, 2, 3)}
    picture = LazyPicture((240, 150), lambda: bird, np.zeros((MASK_SIDE, MASK_SIDE), np.uint8), foreign)
    assert np.array_equal(scorer.score([picture], [boxes])[0], score_images(scorer, [bird], [boxes])[0])


@pytest.fixture(scope="module")
def with_faces(photos, tmp_path_factory):
    """A run up to the first round of refinement whose pictures have faces."""
    session = session_for(recipe_for(photos), tmp_path_factory.mktemp("faces") / "work", faces=FakeFaces())
    run_chain(session, until="refine")
    return session


def rows_of(session, stage: str) -> list[dict]:
    """All rows of a stage, rejected ones too."""
    told = session.run.tables()
    return [row for shard in told.shards(stage) for row in session.run.table(stage, shard).to_pylist()]


def test_canvases_with_an_invented_face_are_rejected(with_faces):
    rows = rows_of(with_faces, "perceive/canvases")
    rejected = [row for row in rows if row["status"] != "kept"]
    assert 0 < len(rejected) < len(rows)
    canvases = {row["key"]: row for row in kept_rows(with_faces, "outpaint")}
    for row in rows:
        canvas = canvases[row["key"]]
        invented = invented_face(row["faces"], canvas["photo_box"], (canvas["width"], canvas["height"]))
        assert row["reason"] == ("" if invented is None else "invented_face")
    assert "outside the photo" in rejected[0]["detail"] and all(
        row["status"] == "kept" for row in rows_of(with_faces, "perceive/photos")
    )
    assert {row["key"] for row in rows_of(with_faces, "propose")} == {
        row["key"] for row in rows if row["status"] == "kept"
    }


@pytest.mark.parametrize("stage", ["propose", "refine/round-01"])
def test_no_proposal_cuts_a_head_but_the_label(with_faces, stage):
    canvases = {row["key"]: row for row in kept_rows(with_faces, "outpaint")}
    faces = {row["key"]: row["faces"] for row in kept_rows(with_faces, "perceive/canvases")}
    rows = kept_rows(with_faces, stage)
    assert sum(len(row["boxes"]) for row in rows) > 3 * len(rows)
    for row in rows:
        size = (canvases[row["key"]]["width"], canvases[row["key"]]["height"])
        assert not any(CanvasFaces(faces[row["key"]], size).cut(row["boxes"][1:]))


def test_tables_from_before_there_were_faces_are_readable(with_faces):
    table = with_faces.run.table("perceive/photos", with_faces.run.tables().shards("perceive/photos")[0])
    (old, *_) = parquet.kept_records(Perception, table.drop_columns(["faces"]))
    (new, *_) = parquet.kept_records(Perception, table)
    assert old.faces == [] and len(new.faces) in (1, 2) and old.mask == new.mask
    with pytest.raises(KeyError):
        parquet.kept_records(Perception, table.drop_columns(["mask"]))
