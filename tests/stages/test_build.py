"""The final shards, read by the readers that people use."""

import csv
import hashlib
import io
import json
import runpy
import shutil
import subprocess
import sys
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import webdataset as wds
from PIL import Image

from pipeline.checks.lint.linter import Linter, find_shards
from pipeline.shards.dataset import ShardSet
from pipeline.shards.index import scan_tar
from pipeline.shards.jpeg_xmp import without_xmp
from pipeline.shards.provenance import Provenance, read_provenance
from stages.publishing.licence_report import licence_report, licences_of_run
from tests.chain import make_photos, recipe_for, run_chain, session_for

KEYS = [
    "key", "photo", "width", "height", "photo_box", "crops", "scores", "origins", "prompt", "negative_prompt", "seed",
    "outpainter", "scorer", "licence", "author", "source",
]  # fmt: skip
# webdataset leaves the file of a finished shard to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    home = tmp_path_factory.mktemp("build")
    source = with_credits(make_photos(home / "src", 14))
    session = session_for(recipe_for(source, build={"shards": 7}), home / "work")
    run_chain(session, until="build")
    return home / "work"


LICENCES = [
    ("CC-BY-4.0", "https://creativecommons.org/licenses/by/4.0/"), ("CC-BY-SA-3.0", ""), ("CC-BY-NC-4.0", ""), ("", "")
]  # fmt: skip


def with_credits(folder):
    """Every fourth photograph has the same licence; the titles and authors are hostile."""
    rows = ["file,title,author,licence,licence_url,source,split"]
    for number, path in enumerate(sorted(folder.glob("*.jpg"))):
        licence, address = LICENCES[number % 4]
        rows.append(f"{path.name},<b>{number}</b> & é,=A. | Author,{licence},{address},https://example.org/{number},")
    (folder / "credits.csv").write_text("\n".join(rows), encoding="utf-8")
    return folder


READERS = Path(__file__).resolve().parents[2] / "examples" / "readers"


def tars(work):
    return sorted((work / "dataset" / "shards").glob("*.tar"))


def samples_of(path):
    return list(wds.WebDataset(str(path), shardshuffle=False, empty_check=False))


def samples(work):
    return [s for path in tars(work) for s in samples_of(path)]


def test_as_many_shards_as_asked_and_none_empty(dataset):
    assert len(tars(dataset)) == 7
    assert all(any(wds.WebDataset(str(path), shardshuffle=False)) for path in tars(dataset))


def test_members_keep_order_and_plain_headers(dataset):
    for path in tars(dataset):
        with tarfile.open(path) as tar:
            names = [info.name for info in tar]
            assert all((i.uid, i.gid, i.mode, i.mtime, i.isreg()) == (0, 0, 0o644, 0, True) for i in tar.getmembers())
        assert [name.split(".")[1] for name in names] == ["jpg", "json", "npy"] * (len(names) // 3)
        stems = [name.split(".")[0] for name in names]
        assert stems[0::3] == stems[1::3] == stems[2::3]


def test_json_has_every_key_and_fixed_types(dataset):
    found = samples(dataset)
    assert len({s["__key__"] for s in found}) == len(found)
    for sample in found:
        body = json.loads(sample["json"])
        assert list(body) == KEYS and None not in body.values()
        assert all(isinstance(v, float) for box in body["crops"] for v in box)
        assert all(isinstance(v, float) for v in body["scores"])
        assert [type(v) for v in body["photo_box"]] == [int] * 4
        assert body["crops"][0] == body["photo_box"]
        labels = np.load(io.BytesIO(sample["npy"]), allow_pickle=False)
        assert labels.dtype == np.float32 and labels.shape == (len(body["crops"]), 5)
        sink = io.BytesIO()
        np.save(sink, labels)
        assert sample["npy"] == sink.getvalue()
        assert np.allclose(labels[:, :4], body["crops"]) and np.allclose(labels[:, 4], body["scores"])
        assert Image.open(io.BytesIO(sample["jpg"])).size == (body["width"], body["height"])


def test_pixels_are_copied_not_encoded_again(dataset):
    painted = {}
    for path in (dataset / "outpaint").glob("*.tar"):
        with tarfile.open(path) as tar:
            painted.update({i.name: hashlib.sha256(tar.extractfile(i).read()).hexdigest() for i in tar})
    for sample in samples(dataset):
        assert painted[f"{sample['__key__']}.jpg"] == hashlib.sha256(without_xmp(sample["jpg"])[0]).hexdigest()


def test_each_canvas_says_where_it_is_from(dataset):
    with open(dataset / "dataset" / "attribution.csv", encoding="utf-8", newline="") as file:
        rows = {row["photo"]: row for row in csv.DictReader(file)}
    for sample in samples(dataset):
        body, about = json.loads(sample["json"]), read_provenance(Image.open(io.BytesIO(sample["jpg"])).info["xmp"])
        row = rows[body["photo"]]
        x1, y1, x2, y2 = body["photo_box"]
        assert about == Provenance(
            (x1, y1, x2, y2), row["licence_url"], body["source"], "fake-outpainter", "paint0001", "MIT", body["prompt"],
            row["title"], body["author"], body["licence"],
        )  # fmt: skip
    linter = Linter(provenance=True)
    found = [finding.rule for finding in linter.run(find_shards([str(dataset / "dataset" / "shards")]))]
    assert linter.summary()["errors"] == 0 and set(found) <= {"provenance-credits", "shard-size"}


def test_no_photo_is_in_two_splits(dataset):
    splits = {}
    for path in tars(dataset):
        for sample in wds.WebDataset(str(path), shardshuffle=False):
            splits.setdefault(json.loads(sample["json"])["photo"], set()).add(path.name.split("-")[1])
    assert all(len(found) == 1 for found in splits.values())
    assert {s for found in splits.values() for s in found} >= {"train", "test"}


def test_hugging_face_datasets_reads_images_and_fixed_types(dataset, tmp_path):
    datasets = pytest.importorskip("datasets")
    files = {"train": [str(p) for p in tars(dataset)]}
    loaded = datasets.load_dataset("webdataset", data_files=files, split="train", cache_dir=str(tmp_path))
    assert len(loaded) == len(samples(dataset))
    types = loaded.features["json"]
    assert set(types) == set(KEYS)
    assert loaded[0]["jpg"].size == (loaded[0]["json"]["width"], loaded[0]["json"]["height"])
    assert str(types["scores"].feature.dtype) == "float64"


@pytest.mark.parametrize("name", ["read_webdataset", "read_pytorch", "read_hf_datasets"])
def test_examples_of_readers_see_all_samples(dataset, name, tmp_path, monkeypatch):
    if name == "read_hf_datasets":
        datasets = pytest.importorskip("datasets")
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    example = runpy.run_path(str(READERS / f"{name}.py"))
    count = sum("-train-" in path.name and len(samples_of(path)) for path in tars(dataset))
    assert example["main"](str(dataset / "dataset")) == count > 0


@pytest.mark.long
def test_energon_reads_the_tars_after_its_own_indexing(dataset, tmp_path):
    pytest.importorskip("megatron.energon")
    home = shutil.copytree(dataset / "dataset", tmp_path / "dataset")
    program = Path(sys.executable).with_name("energon")
    subprocess.run(
        [program, "prepare", "--tar-index-only", "--no-progress", str(home)], check=True, stdin=subprocess.DEVNULL
    )
    splits = sorted({path.name.split("-")[1] for path in tars(dataset)})
    told = subprocess.run(
        [sys.executable, str(READERS / "read_energon.py"), str(home), *splits],
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    )
    found = json.loads(told.stdout.strip().splitlines()[-1])
    for split, pictures in found.items():
        mine = {s["__key__"] for path in tars(dataset) if f"-{split}-" in path.name for s in samples_of(path)}
        assert set(pictures) == mine, split
        assert all(sizes[:2] == sizes[2:] for sizes in pictures.values())
    assert set(found) == set(splits) and found["train"]
    assert [path.read_bytes() for path in tars(dataset)] == [path.read_bytes() for path in tars(tmp_path)]


def test_each_shard_has_an_index_that_agrees_with_its_samples(dataset):
    for receipt in (json.loads(p.read_text()) for p in (dataset / "build").glob("0*.receipt.json")):
        (name,) = (path for path in receipt["outputs"] if path.endswith(".idx"))
        assert hashlib.sha256((dataset / name).read_bytes()).hexdigest() == receipt["outputs"][name]["sha256"]
    for path in tars(dataset):
        index = dataset / "dataset" / "index" / f"{path.stem}.idx"
        assert index.read_bytes() == scan_tar(path).encode()
    with ShardSet(tars(dataset)) as shards:
        mine = [(sample.key, sample.parts) for sample in shards]
        assert [shards[n].key for n in range(len(shards))] == [key for key, _ in mine]
    assert mine == [(s["__key__"], {name: s[name] for name in ("jpg", "json", "npy")}) for s in samples(dataset)]


def test_checksums_index_and_card_agree_with_the_tars(dataset):
    home = dataset / "dataset"
    for line in (home / "checksums" / "sha256sum.txt").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((home / name).read_bytes()).hexdigest() == digest
    index = json.loads((home / "index" / "wids.json").read_text())
    assert [(home / "index" / s["url"]).resolve() for s in index["shardlist"]] == [
        p.resolve() for p in sorted_by_build(dataset)
    ]
    assert sum(s["nsamples"] for s in index["shardlist"]) == len(samples(dataset))
    card = (home / "README.md").read_text()
    assert f"{len(samples(dataset))} out-painted canvases" in card and "configs:" in card


def test_each_photograph_is_credited(dataset):
    with open(dataset / "dataset" / "attribution.csv", encoding="utf-8", newline="") as file:
        rows = {row["photo"]: row for row in csv.DictReader(file)}
    bodies = [json.loads(s["json"]) for s in samples(dataset)]
    assert {key: int(row["canvases"]) for key, row in rows.items()} == Counter(body["photo"] for body in bodies)
    for body in bodies:
        row = rows[body["photo"]]
        assert (row["licence"], row["source"]) == (body["licence"], body["source"])
        assert row["author"] == "'=A. | Author" and row["title"].endswith("</b> & é")
    address = {row["licence"]: row["licence_url"] for row in rows.values()}
    assert address["CC-BY-4.0"] == LICENCES[0][1]
    sheet = (dataset / "dataset" / "DATASHEET.md").read_text()
    assert f"{len(bodies)} canvases of {len(rows)} photographs" in sheet and "fake-outpainter" in sheet


def plain(value):
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, list | np.ndarray):
        return [plain(item) for item in value]
    return value.item() if hasattr(value, "item") else value


@pytest.mark.filterwarnings("ignore")
def test_mlcroissant_loads_the_same_rows_and_pictures(dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("CROISSANT_CACHE", str(tmp_path))  # it is read when the package is imported
    mlcroissant = pytest.importorskip("mlcroissant")
    told = mlcroissant.Dataset(str(dataset / "dataset" / "croissant.json"))
    assert told.metadata.ctx.issues.errors == set()
    rows = [{name.split("/")[1]: plain(value) for name, value in row.items()} for row in told.records("samples")]
    bodies = {s["__key__"]: json.loads(s["json"]) for s in samples(dataset)}
    kept = {row["key"]: {name: row[name] for name in KEYS} for row in rows if row["status"] == "kept"}
    assert kept == bodies
    pictures = {plain(row["canvases/key"]): row["canvases/image"].size for row in told.records("canvases")}
    assert pictures == {key: (body["width"], body["height"]) for key, body in bodies.items()}


def test_a_strict_policy_leaves_licences_with_problems_out(dataset, tmp_path):
    work = shutil.copytree(dataset, tmp_path / "work")
    source = dataset.parent / "src"
    session = session_for(recipe_for(source, build={"shards": 7, "licence_policy": "strict"}), work)
    built = next(r for r in run_chain(session, until="build", accept_change=True) if r.stage == "build")
    before = Counter(json.loads(s["json"])["licence"] for s in samples(dataset))
    after = Counter(json.loads(s["json"])["licence"] for s in samples(work))
    assert after == {name: count for name, count in before.items() if name in ("CC-BY-4.0", "CC-BY-SA-3.0")}
    rejected = sum((Counter(r.n_rejected) for r in built.receipts), Counter())
    assert rejected == {"licence_non_commercial": before["CC-BY-NC-4.0"], "licence_unknown": before[""]}
    assert "\nlicense: cc-by-sa-3.0\n" in (work / "dataset" / "README.md").read_text()
    table = pq.read_table(next(iter((work / "dataset" / "metadata").glob("*.parquet"))))
    assert all(table[name].null_count == 0 for name in KEYS)


def test_licences_are_counted_for_status_and_warnings(dataset):
    session = session_for(recipe_for(dataset.parent / "src", build={"shards": 7}), dataset)
    report = licences_of_run(session.run.store)
    assert set(report.counts) == {"CC-BY-4.0", "CC-BY-SA-3.0", "CC-BY-NC-4.0", "not stated"}
    assert report.licence == "unknown" and len(report.warnings) == 2 and report.line.startswith("licences: CC-BY")
    many = licence_report({(f"L{number}", ""): 1 for number in range(11)})
    assert many.line.endswith("L5 1, L6 1, 3 others") and len(many.counts) == 11


def sorted_by_build(work):
    order = {"train": 0, "val": 1, "test": 2}
    return sorted(tars(work), key=lambda p: (order[p.name.split("-")[1]], p.name))
