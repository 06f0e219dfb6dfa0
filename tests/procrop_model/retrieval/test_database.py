"""The retrieval database: what it finds, what it must never give, and what it refuses to load."""

import json
from pathlib import Path

import numpy as np
import psutil
import pytest

from pipeline.core.errors import ModelError
from procrop_model.retrieval.database import NearDuplicates, Reference, ReferenceDatabase
from procrop_model.retrieval.index import kind_for, read_index
from procrop_model.retrieval.writer import ReferenceWriter


def entry(key: str, phash: str = "", photo: str = "") -> Reference:
    return Reference(key, photo or key, phash, key.upper(), "a", "CC0-1.0", "s")


def database(count: int = 6, dim: int = 8, phashes: list[str] | None = None) -> ReferenceDatabase:
    rng = np.random.default_rng(3)
    entries = [entry(f"k{i}", phashes[i] if phashes else "") for i in range(count)]
    return ReferenceDatabase.build(rng.normal(size=(count, dim)), rng.normal(size=(count, 4, 5)), entries, "enc")


def test_search_gives_the_exact_order_of_cosines() -> None:
    base = database()
    query = np.random.default_rng(0).normal(size=(1, 8)).astype(np.float32)
    (found,) = base.search(query, 4)
    cosines = base.vectors @ (query[0] / np.linalg.norm(query))
    order = np.argsort(-cosines)[:4]
    assert found.rows == order.tolist()
    assert found.keys == [f"k{i}" for i in order]
    np.testing.assert_allclose(found.similarities, cosines[order], atol=1e-6)


def test_a_result_does_not_depend_on_the_batch() -> None:
    base = database(40, 16)
    queries = np.random.default_rng(1).normal(size=(30, 16)).astype(np.float32)
    together = base.search(queries, 5)
    assert together == [base.search(query[None], 5)[0] for query in queries]


def test_excluded_keys_take_their_near_duplicates_with_them() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(4, 8))
    vectors[1] = vectors[0] + 1e-3  # the same photo, saved again
    phashes = ["f" * 16, "f" * 16, "f" * 15 + "e", "0" * 16]  # and a third one by its hash
    entries = [entry(f"k{i}", phashes[i]) for i in range(4)]
    base = ReferenceDatabase.build(vectors, np.zeros((4, 4, 5)), entries, "enc")
    (found,) = base.search(vectors[:1], 4, exclude=[{"k0"}])
    assert found.keys == ["k3"]


def test_exclusion_reaches_references_by_their_photo() -> None:
    vectors = np.eye(3, 8)
    entries = [entry("v0", photo="p0"), entry("v1", photo="p0"), entry("v2", photo="p1")]
    base = ReferenceDatabase.build(vectors, np.zeros((3, 4, 5)), entries, "enc")
    assert base.search(vectors[:1], 3, exclude=[{"p0"}])[0].keys == ["v2"]


def test_parents_outside_the_database_are_excluded_too() -> None:
    base = database(phashes=["0000000000000003", *["ffffffffffffff00"] * 5])
    query = np.ones((1, 8), np.float32)
    assert "k4" not in base.search(query, 6, parents=base.vectors[4:5])[0].keys
    assert base.search(query, 6, parent_phashes=["0000000000000000"])[0].keys.count("k0") == 0
    assert len(base.search(query, 6, parent_phashes=[""])[0].keys) == 6


def test_limits_are_settings() -> None:
    vectors = np.array([[1.0, 0.0], [0.8, 0.6]])
    entries = [entry("a"), entry("b")]
    strict = NearDuplicates(cosine=0.7)
    base = ReferenceDatabase.build(vectors, np.zeros((2, 4, 5)), entries, "enc", strict)
    assert base.search(vectors[:1], 2, exclude=[{"a"}])[0].keys == []


def test_k_above_the_size_and_an_empty_database() -> None:
    assert len(database(3).search(np.ones((1, 8)), 10)[0].keys) == 3
    assert database(3).search(np.ones((1, 8)), 0)[0].keys == []
    empty = ReferenceDatabase.build(np.zeros((0, 8)), np.zeros((0, 4, 5)), [], "enc")
    assert empty.search(np.ones((2, 8)), 5, parents=np.ones((2, 8))) == empty.search(np.ones((2, 8)), 5)


@pytest.mark.parametrize("count", [0, 5])
def test_saved_and_loaded_is_the_same(tmp_path: Path, count: int) -> None:
    base = database(count)
    base.save(tmp_path / "db")
    again = ReferenceDatabase.load(tmp_path / "db", "enc")
    query = np.ones((1, 8), np.float32)
    assert again.search(query, 3) == base.search(query, 3)
    assert again.entries == base.entries
    assert again.tokens.dtype == np.float16
    np.testing.assert_array_equal(again.tokens, base.tokens)
    about = json.loads((tmp_path / "db" / "index.json").read_text())
    assert about["dim"] == 8
    assert about["count"] == count


def test_missing_damaged_and_foreign_folders_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no reference database.*index\.json is missing"):
        ReferenceDatabase.load(tmp_path)
    database().save(tmp_path / "db")
    with pytest.raises(ModelError, match="made with encoder enc, not other"):
        ReferenceDatabase.load(tmp_path / "db", "other")
    data = (tmp_path / "db" / "tokens.npy").read_bytes()
    (tmp_path / "db" / "tokens.npy").write_bytes(data[:-10])
    with pytest.raises(ModelError, match=r"damaged.*tokens\.npy has"):
        ReferenceDatabase.load(tmp_path / "db")
    (tmp_path / "db" / "index.json").write_text("{")
    with pytest.raises(ModelError, match="damaged"):
        ReferenceDatabase.load(tmp_path / "db")


def test_counts_and_keys_are_checked() -> None:
    with pytest.raises(ModelError, match="do not match"):
        ReferenceDatabase.build(np.zeros((2, 8)), np.zeros((1, 4, 5)), [entry("a")], "enc")
    with pytest.raises(ModelError, match="twice"):
        ReferenceDatabase.build(np.zeros((2, 8)), np.zeros((2, 4, 5)), [entry("a"), entry("a")], "enc")


def test_a_database_written_in_pieces_has_the_same_bytes(tmp_path: Path) -> None:
    whole = database(7)
    whole.save(tmp_path / "whole")
    writer = ReferenceWriter(tmp_path / "pieces", "enc")
    for part in (slice(0, 3), slice(3, 4), slice(4, 7)):
        writer.add_normalised(whole.vectors[part], whole.tokens[part], list(whole.entries)[part])
    with pytest.raises(ModelError, match=r"index\.json is missing"):
        ReferenceDatabase.load(tmp_path / "pieces")
    writer.close()
    for path in sorted((tmp_path / "whole").iterdir()):
        assert (tmp_path / "pieces" / path.name).read_bytes() == path.read_bytes(), path.name
    assert len(list((tmp_path / "pieces").iterdir())) == 4


def test_a_writer_refuses_what_does_not_fit(tmp_path: Path) -> None:
    writer = ReferenceWriter(tmp_path, "enc")
    writer.add(np.ones((1, 8)), np.zeros((1, 4, 5)), [entry("a")])
    with pytest.raises(ModelError, match=r"vectors of 9 .* do not fit 8"):
        writer.add(np.ones((1, 9)), np.zeros((1, 4, 5)), [entry("b")])
    writer.add(np.ones((1, 8)), np.zeros((1, 4, 5)), [entry("a")])
    with pytest.raises(ModelError, match="twice"):
        writer.close()


def test_search_needs_no_tokens(tmp_path: Path) -> None:
    base = database(5)
    base.save(tmp_path)
    (tmp_path / "tokens.npy").unlink()
    query = np.ones((1, 8), np.float32)
    assert ReferenceDatabase.load(tmp_path, "enc", with_tokens=False).search(query, 3) == base.search(query, 3)
    with pytest.raises(ModelError, match=r"tokens\.npy is missing"):
        ReferenceDatabase.load(tmp_path, "enc")


def clustered(count: int, dim: int = 16) -> np.ndarray:
    """Vectors in groups, as photographs are."""
    rng = np.random.default_rng(5)
    centres = rng.normal(size=(12, dim))
    return centres[rng.integers(0, 12, count)] + 0.4 * rng.normal(size=(count, dim))


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_an_approximate_index_reports_recall_and_is_saved(tmp_path: Path, kind: str) -> None:
    vectors = clustered(900)
    writer = ReferenceWriter(tmp_path, "enc", index=kind, encoder_settings={"kind": "sam"})
    writer.add(vectors, np.zeros((900, 4, 5)), [entry(f"k{i}") for i in range(900)])
    assert "vectors.npy" in writer.close()
    about = json.loads((tmp_path / "index.json").read_text())
    assert about["kind"] == {"ivf": "IndexIVFFlat", "hnsw": "IndexHNSWFlat"}[kind]
    assert about["parameters"]
    loaded = ReferenceDatabase.load(tmp_path, "enc")
    assert isinstance(loaded.vectors, np.memmap)
    assert loaded.metadata.encoder_settings == {"kind": "sam"}
    flat = ReferenceDatabase.build(vectors, np.zeros((900, 4, 5)), [entry(f"k{i}") for i in range(900)], "enc")
    queries = clustered(960)[900:]
    pairs = zip(loaded.search(queries, 10), flat.search(queries, 10), strict=True)
    recall = np.mean([len(set(a.rows) & set(b.rows)) / 10 for a, b in pairs])
    assert about["recall"]["value"] >= 0.95
    assert recall == pytest.approx(about["recall"]["value"], abs=0.06)
    loaded.save(tmp_path / "again")
    for name in ("index.faiss", "vectors.npy", "index.json"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / name).read_bytes()


@pytest.mark.parametrize("kind", ["flat", "ivf", "hnsw"])
def test_exclusion_holds_whatever_the_index(kind: str) -> None:
    """Two hundred near-duplicates of the query's photo come first in every index: none may be given, k others must be."""
    rng = np.random.default_rng(0)
    vectors = clustered(900)
    vectors[:200] = vectors[0] + 1e-3 * rng.normal(size=(200, 16))
    entries = [entry(f"k{i}") for i in range(900)]
    base = ReferenceDatabase.build(vectors, np.zeros((900, 4, 5)), entries, "enc", index=kind)
    query = vectors[:1].astype(np.float32)
    for found in (base.search(query, 20, parents=query)[0], base.search(query, 20, exclude=[{"k7"}])[0]):
        assert len(found.rows) == 20
        assert min(found.rows) >= 200
        assert found.similarities == sorted(found.similarities, reverse=True)
    assert len(base.search(query, 700, parents=query)[0].rows) == 700
    assert len(base.search(query, 900, parents=query)[0].rows) <= 700


def test_auto_is_flat_below_a_million_and_few_vectors_always() -> None:
    assert [kind_for("auto", count) for count in (0, 1_000_000, 1_000_001)] == ["flat", "flat", "ivf"]
    assert kind_for("hnsw", 5) == "flat"
    with pytest.raises(ModelError, match="none of auto, flat, ivf, hnsw"):
        kind_for("annoy", 5)


def test_a_loaded_flat_index_is_mapped_not_read(tmp_path: Path) -> None:
    vectors = clustered(40_000, 128)
    base = ReferenceDatabase.build(vectors, np.zeros((40_000, 1, 1)), [entry(f"k{i}") for i in range(40_000)], "enc")
    base.save(tmp_path)
    size = (tmp_path / "index.faiss").stat().st_size
    del base
    me = psutil.Process()
    before = me.memory_full_info().uss
    loaded = read_index(str(tmp_path / "index.faiss"))
    assert loaded.ntotal == 40_000
    assert me.memory_full_info().uss - before < size / 4
