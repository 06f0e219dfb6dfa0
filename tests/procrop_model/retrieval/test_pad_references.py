"""Padding of neighbour lists: shapes, the mask, and the order of references."""

import numpy as np

from procrop_model.retrieval.database import Neighbour, Reference, ReferenceDatabase
from procrop_model.retrieval.pad_references import pad_references


def database() -> ReferenceDatabase:
    entries = [Reference(f"k{i}", f"k{i}", "", "", "", "", "") for i in range(3)]
    tokens = np.arange(3, dtype=np.float32)[:, None, None] * np.ones((3, 4, 5), np.float32)
    return ReferenceDatabase.build(np.eye(3, 6, dtype=np.float32), tokens, entries, "enc")


def test_lists_of_unlike_length_are_padded_to_the_longest() -> None:
    lists = [[Neighbour("k2", 0.9), Neighbour("k1", 0.5)], [], [Neighbour("k1", 0.7)]]
    padded = pad_references(lists, database())
    assert padded.tokens.shape == (3, 2, 4, 5)
    assert padded.present.tolist() == [[True, True], [False, False], [True, False]]
    np.testing.assert_allclose(padded.similarity, [[0.9, 0.5], [0.0, 0.0], [0.7, 0.0]])
    assert padded.tokens[:, :, 0, 0].tolist() == [[2.0, 1.0], [0.0, 0.0], [1.0, 0.0]]


def test_no_neighbours_give_no_slots_or_the_least() -> None:
    assert pad_references([[], []], database()).tokens.shape == (2, 0, 4, 5)
    padded = pad_references([[], []], database(), least=1)
    assert padded.tokens.shape == (2, 1, 4, 5)
    assert not padded.present.any()
