"""Close vectors: all pairs of all, and those that the index for many vectors finds."""

import numpy as np
import pytest

from stages.near_duplicates import vector_pairs
from stages.near_duplicates.vector_pairs import VectorPairs, unit_rows


def some(count, width=96, copies=200):
    """Vectors of photographs, of which the last ``copies`` are near others."""
    rng = np.random.default_rng(3)
    spread = rng.standard_normal((width, width)) * np.exp(-np.arange(width) / 20)[:, None]
    vectors = rng.standard_normal((count, width)) @ spread
    near = rng.integers(0, count - copies, copies)
    vectors[-copies:] = vectors[near] + 0.1 * rng.standard_normal((copies, width)) @ spread
    return vectors.astype(np.float16)


def found(search):
    return {(a, b) for i, j in search.pairs() for a, b in zip(i.tolist(), j.tolist(), strict=True)}


@pytest.fixture(scope="module")
def close():
    vectors = some(3000)
    unit = unit_rows(vectors)
    i, j = np.nonzero(np.triu(unit @ unit.T >= 0.9, 1))
    return vectors, set(zip(i.tolist(), j.tolist(), strict=True))


def test_the_exact_search_misses_nothing(close):
    vectors, wanted = close
    search = VectorPairs(vectors, 0.9)
    pairs = found(search)
    assert len(wanted) >= 200 and wanted <= pairs and search.recall == 1
    assert all(a < b for a, b in pairs)


def test_the_index_finds_nearly_all_and_says_how_many(close, monkeypatch):
    vectors, wanted = close
    monkeypatch.setattr(vector_pairs, "EXACT_UP_TO", 100)
    search = VectorPairs(vectors, 0.9)
    pairs = found(search)
    share = len(wanted & pairs) / len(wanted)
    assert share > 0.93 and all(a < b for a, b in pairs)
    assert search.recall == pytest.approx(share, abs=0.03)
    assert found(VectorPairs(vectors, 0.9)) == pairs


def test_short_vectors_and_few_of_them():
    assert found(VectorPairs(np.eye(4, dtype=np.float16)[[0, 1, 0]], 0.8)) == {(0, 2)}
