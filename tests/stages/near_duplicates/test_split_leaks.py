"""Near-duplicates: what counts as one photograph, who goes, and what the dataset then holds and says."""

import io
import json
import random
import shutil

import numpy as np
import pytest
from PIL import Image, ImageOps

from pipeline.app.progress import Display, summary_of
from pipeline.core.errors import MissingUpstreamError, UsageError
from pipeline.core.records import Signature
from pipeline.core.resources import bundled
from pipeline.engine.executors.local import LocalExecutor
from pipeline.engine.runner import Options, run_stages
from pipeline.report import write_report
from procrop_model.retrieval.entries import Entries
from stages.near_duplicates.excluded_sets import excluded_digest, excluded_files, excluded_signatures
from stages.near_duplicates.signatures import Signatures
from stages.near_duplicates.similarity import THUMB, find_similar, part_match, signature_of
from stages.near_duplicates.split_leaks import find_leaks
from tests.chain import kept_rows, make_photos, recipe_for, run_chain, session_for
from tests.fakes import FakeEncoder

KEEP_ALL = {"near_duplicate_bits": 0}  # ingest leaves near-duplicates to build


def made(key, bits=0, *, split="train", pixels=100, base=0):
    """A made-up signature: pictures of one ``base`` have hashes that differ in those of ``bits`` (a mask) alone."""
    rng = np.random.default_rng(base)
    code, mirrored = (int(rng.integers(0, 1 << 63)) for _ in range(2))
    vector = np.random.default_rng([base, bits]).standard_normal(96).astype(np.float16)
    thumb = np.random.default_rng([base, bits, 1]).integers(0, 255, THUMB * THUMB).astype(np.uint8)
    hashes = (f"{code ^ bits:016x}", f"{mirrored ^ bits:016x}")
    return Signature(key, f"{key}.jpg", split, pixels, *hashes, thumb.tobytes(), vector.tobytes())


def alike_of(signatures):
    return find_similar(Signatures.of(signatures))


def leaks_of(photos, outside, **options):
    mine = Signatures.of(sorted(photos, key=lambda s: s.key))
    return find_leaks(mine, Signatures.of(sorted(outside, key=lambda s: s.uri)), **options)


def found(photos, outside=(), **options):
    leaks = leaks_of(photos, outside, **options).by_photo
    return {key: (leak.reason, leak.other or leak.other_uri) for key, leak in leaks.items()}


def photo(name, side=256):
    with Image.open(bundled("assets") / "photos" / f"{name}.jpg") as image:
        image.thumbnail((side, side))
        return np.asarray(image.convert("RGB"))


def sign(key, image, vector=None, split="train"):
    return signature_of(key, f"{key}.jpg", split, image, np.ones(8, np.float32) if vector is None else vector)


def test_nothing_and_one_are_no_pair():
    assert found([]) == {} and found([made("a")]) == {}
    assert alike_of([]).pairs == {} and found([], [made("x"), made("y")]) == {}


def test_strangers_stay():
    assert found([made(str(n), base=n) for n in range(50)]) == {}


def test_train_goes_before_val_and_val_before_test():
    a, b, c = made("a", split="train"), made("b", 1, split="val"), made("c", 3, split="test")
    assert found([a, b]) == {"a": ("split_leak", "b")}
    assert found([b, c]) == {"b": ("split_leak", "c")}
    assert {key: reason for key, (reason, _) in found([a, b, c]).items()} == {"a": "split_leak", "b": "split_leak"}


def test_photos_near_an_excluded_one_go_first_and_shield_none():
    near, twin = made("a", split="test"), made("b", 1, split="train")
    assert found([near], [made("", 1)]) == {"a": ("near_test", ".jpg")}
    # The test photo is gone, so its twin of the train split leaks nothing into test; it is itself 8 bits from the outside.
    outside = made("out", 0b1111110)
    assert found([near, made("b", 0b11 << 20, split="train")], [outside]) == {"a": ("near_test", "out")}
    assert found([near, twin], [made("", 0)])["b"][0] == "near_test"


def test_within_a_split_the_largest_or_first_key_stays():
    assert found([made("a", pixels=10), made("b", 1, pixels=20)]) == {"a": ("near_duplicate", "b")}
    assert found([made("a"), made("b", 1)]) == {"b": ("near_duplicate", "a")}
    assert found([made("a"), made("b", 1)], within=False) == {}


def test_a_chain_drops_the_middle_only():
    """a~b and b~c are 6 bits apart, a and c 12."""
    ends = [made("a", 0, pixels=300), made("b", 0b111111, pixels=200), made("c", 0b111111111111, pixels=250)]
    assert set(found(ends)) == {"b"}
    middle = [made("a", 0, pixels=300), made("b", 0b111111, pixels=900), made("c", 0b111111111111, pixels=250)]
    assert found(middle) == {"a": ("near_duplicate", "b"), "c": ("near_duplicate", "b")}
    across = [made("a", 0, split="test"), made("b", 0b111111, split="val"), made("c", 0b111111111111, split="train")]
    assert found(across) == {"b": ("split_leak", "a")}  # c was near b alone, which is gone


def test_the_order_of_the_input_does_not_matter():
    photos = [
        made(f"{base}{n}", n, base=base, split=s)
        for base in range(6)
        for n, s in enumerate(("train", "val", "test", "train"))
    ]
    photos += [made(f"9{n}", n, base=9) for n in range(3)]
    outside = [made(f"x{base}", 8, base=base) for base in (2, 4)]
    want = leaks_of(photos, outside)
    for seed in range(3):
        mixed, others = photos[:], outside[:]
        random.Random(seed).shuffle(mixed)
        random.Random(seed).shuffle(others)
        assert leaks_of(mixed, others) == want
    assert {leak.reason for leak in want.by_photo.values()} == {"near_test", "split_leak", "near_duplicate"}


def test_blocks_find_what_all_pairs_find():
    """More pictures than a block holds, with twins far apart in the list."""
    photos = [made(f"{n:04d}", base=n) for n in range(1200)]
    photos += [made(f"{n + 5000:04d}", 1, base=n) for n in (0, 511, 512, 1199)]
    assert set(found(photos)) == {"5000", "5511", "5512", "6199"}


@pytest.mark.parametrize("side", [0.9, 0.8, 0.7])
def test_a_crop_is_found_by_its_place_in_the_whole(side):
    whole = photo("astronaut")
    height, width = whole.shape[:2]
    y, x = int(height * (1 - side) * 0.7), int(width * (1 - side) * 0.3)
    part = whole[y : y + int(height * side), x : x + int(width * side)]
    assert alike_of([sign("a", whole), sign("b", part)]).pairs
    assert alike_of([sign("a", np.ascontiguousarray(part[:, ::-1])), sign("b", whole)]).pairs


def test_other_and_flat_photographs_are_no_part_matches():
    thumbs = [sign("a", photo(name)).thumb for name in ("astronaut", "coffee", "wine")]
    assert max(part_match(thumbs[0], thumbs[1]), part_match(thumbs[1], thumbs[2])) < 0.94
    assert part_match(thumbs[0], thumbs[1]) == part_match(thumbs[1], thumbs[0])
    assert part_match(bytes(THUMB * THUMB), bytes(THUMB * THUMB)) < 0.5


def test_an_unrelated_vector_keeps_look_alike_parts_apart():
    whole = photo("astronaut")
    one, other = np.zeros(8, np.float32), np.zeros(8, np.float32)
    one[0] = other[1] = 1
    part = whole[:160, :160]
    assert not alike_of([sign("a", whole, one), sign("b", part, other)]).pairs


def write(image, path, quality=60):
    image.convert("RGB").save(path, quality=quality)


def first_of(session, split):
    return next(row for row in kept_rows(session, "ingest") if row["split"] == split)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with photographs, ``src``, and a whole run on them, ``work``; tests change copies of it."""
    folder = tmp_path_factory.mktemp("finished")
    run_chain(session_for(recipe_for(make_photos(folder / "src", 12), ingest=KEEP_ALL), folder / "work"))
    return folder


def planted(finished, home, edit):
    """A run, then the same source with an edited copy of a photo of the test split that credits put into train."""
    shutil.copytree(finished, home, dirs_exist_ok=True)
    session = session_for(recipe_for(home / "src", ingest=KEEP_ALL), home / "work")
    original = first_of(session, "test")
    with Image.open(home / "src" / original["uri"]) as image:
        write(edit(image), home / "src" / "planted.jpg")
    (home / "src" / "credits.csv").write_text("file,split\nplanted.jpg,train\n")
    return original, session, {r.stage: r for r in run_chain(session)}


def shards_text(work):
    return b"".join(path.read_bytes() for path in sorted(work.glob("dataset/shards/*.tar")))


@pytest.mark.parametrize("edit", [lambda image: image, ImageOps.mirror], ids=["re-encoded", "mirrored"])
def test_a_copy_of_a_test_photo_in_train_is_dropped_and_reported(finished, tmp_path, edit):
    original, session, results = planted(finished, tmp_path, edit)
    copy = next(r for r in kept_rows(session, "ingest") if r["uri"] == "planted.jpg")
    told = summary_of(results["build"])
    kept = sum(r.n_kept for r in results["filter"].receipts)
    dropped = told["rejected"]["split_leak"]
    assert dropped > 0 and told["in"] == kept == told["kept"] + dropped
    text = shards_text(tmp_path / "work")
    assert copy["key"].encode() not in text and original["key"].encode() in text
    rows = [row for n in range(4) for row in session.run.rows("build", n) if row["status"] == "rejected"]
    assert {row["key"].split("-")[0] for row in rows} == {copy["key"]}
    assert all(row["detail"].startswith(f"planted.jpg: near {original['uri']} (") for row in rows)
    report = json.loads((tmp_path / "work" / "build" / "shared" / "leaks.json").read_text())
    (leak,) = report["leaks"]
    assert (leak["uri"], leak["other_uri"], leak["reason"]) == ("planted.jpg", original["uri"], "split_leak")
    assert "split_leak" in (tmp_path / "work" / "dataset" / "README.md").read_text()
    again = {r.stage: r.done_now for r in run_chain(session)}
    assert set(again.values()) == {0}


def reference_keys(work):
    return [entry.key for entry in Entries.decode((work / "retrieve" / "shared" / "references.parquet").read_bytes())]


def test_references_want_the_report_of_leaks(tmp_path):
    session = session_for(recipe_for(make_photos(tmp_path / "src", 6)), tmp_path / "work")
    run_chain(session, until="filter")
    embed, retrieve = session.stages[-2:]
    with LocalExecutor(session.run, session.stages, workers=1, on_event=lambda event: None) as executor:
        told = {"watcher": Display(quiet=True), "options": Options(), "chain": session.stages}
        run_stages([embed], session.run, executor, **told)
        with pytest.raises(MissingUpstreamError, match="run 'procrop-data build'"):
            run_stages([retrieve], session.run, executor, **told)


def test_photos_near_an_excluded_folder_are_rejected(tmp_path):
    make_photos(tmp_path / "src", 12)
    make_photos(tmp_path / "benchmark", 1, seed=77)
    recipe = recipe_for(tmp_path / "src", build={"exclude_near": [str(tmp_path / "benchmark")]})
    session = session_for(recipe, tmp_path / "work")
    assert summary_of({r.stage: r for r in run_chain(session)}["build"])["rejected"] == {}
    victim = first_of(session, "train")
    assert victim["key"].encode() in shards_text(tmp_path / "work")
    assert victim["key"] in reference_keys(tmp_path / "work")
    with Image.open(tmp_path / "src" / victim["uri"]) as image:
        write(image.resize((160, 120)), tmp_path / "benchmark" / "resized.jpg")
    results = {r.stage: r for r in run_chain(session_for(recipe, tmp_path / "work"))}
    assert summary_of(results["build"])["rejected"]["near_test"] > 0 and results["outpaint"].done_now == 0
    assert results["build"].changes
    assert victim["key"].encode() not in shards_text(tmp_path / "work")
    assert victim["key"] not in reference_keys(tmp_path / "work")
    assert results["retrieve"].done_now > 0
    (leak,) = json.loads((tmp_path / "work" / "build" / "shared" / "leaks.json").read_text())["leaks"]
    assert leak["reason"] == "near_test" and leak["other"] == "" and leak["other_uri"].endswith("benchmark/resized.jpg")


def test_excluded_folders_must_be_there_and_hold_pictures(tmp_path):
    with pytest.raises(UsageError, match=r"--exclude-near '.*nothing': no such folder"):
        excluded_files([str(tmp_path / "nothing")])
    with pytest.raises(UsageError, match="no picture there"):
        excluded_files([str(tmp_path)])
    write(Image.fromarray(photo("coffee")), tmp_path / "a.jpg")
    before = excluded_digest([str(tmp_path)])
    sink = io.BytesIO()
    Image.new("L", (4, 4)).save(sink, "PNG")
    (tmp_path / "small.png").write_bytes(sink.getvalue())
    (tmp_path / "text.jpg").write_text("no picture")
    assert excluded_digest([str(tmp_path)]) != before
    known, unreadable = excluded_signatures([str(tmp_path)], FakeEncoder())
    assert [s.uri for s in known] == [f"{tmp_path}/a.jpg"] and len(unreadable) == 2


def test_the_report_shows_both_pictures_of_a_pair(tmp_path):
    source = make_photos(tmp_path / "src", 8)
    with Image.open(source / "photo 2.jpg") as image:
        image.resize((300, 225)).save(source / "photo 2 again.jpg", quality=60)
    session = session_for(recipe_for(source, ingest=KEEP_ALL), tmp_path / "work")
    run_chain(session, until="build")
    page = write_report(
        session.run, session.stages, models_dir=tmp_path, crops_dir=tmp_path, out=tmp_path / "report" / "index.html"
    )
    told = json.loads((tmp_path / "report" / "data.json").read_text())["sections"]["leaks"]
    assert told["total"] == 1 and {"photo 2.jpg", "photo 2 again.jpg"} == {
        told["leaks"][0]["uri"], told["leaks"][0]["other_uri"],
    }  # fmt: skip
    html = page.read_text()
    assert "left out as near-duplicates" in html and "left out: photo 2" in html and "stays: photo 2" in html
