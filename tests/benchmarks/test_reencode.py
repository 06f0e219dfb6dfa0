"""The common re-encode touches the pictures and nothing else."""

import io

import numpy as np
from PIL import Image

from benchmarks.reencode import canvases, write_split
from procrop_model.training.samples import read_split
from stages.canvases.seam_treatment import UNTREATED
from stages.photos.decode import encode_jpeg
from tests.chain import make_photos, recipe_for, run_chain, session_for


def test_a_split_is_written_as_it_is_or_re_encoded(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 3)).astype(np.uint8)
    data = encode_jpeg(Image.fromarray(pixels))
    row = {"key": "a-00", "photo": "a", "width": 60, "height": 40, "photo_box": [5, 6, 40, 30], "jpg": data}
    found = []
    for name, settings in (("as it is", None), ("worse", UNTREATED.model_copy(update={"jpeg_quality": 30}))):
        (tmp_path / name).mkdir()
        write_split([row], "test", tmp_path / name, settings)
        found += read_split(tmp_path / name, "test")
    plain, worse = found
    assert plain.image == data
    assert len(worse.image) < len(data) / 2
    assert Image.open(io.BytesIO(worse.image)).size == (60, 40)
    assert plain.photo_box == worse.photo_box == (5, 6, 40, 30)


def test_canvases_of_all_shards_are_read(tmp_path):
    session = session_for(recipe_for(make_photos(tmp_path / "src", 8)), tmp_path / "work")
    run_chain(session, until="outpaint")
    found = canvases(str(tmp_path / "work"))
    told = session.run.tables()
    kept = [row for shard in told.shards("outpaint") for row in told.columns("outpaint", shard, ["split"]).to_pylist()]
    assert {split: len(rows) for split, rows in found.items()} == {
        split: sum(row["split"] == split for row in kept) for split in found
    }
    assert found["train"] and all(row["jpg"][:2] == b"\xff\xd8" for rows in found.values() for row in rows)
