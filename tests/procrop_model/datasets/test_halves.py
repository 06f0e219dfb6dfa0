"""Halves of a set: stable, disjoint, complete, and about equal."""

from pathlib import Path

import pytest

from pipeline.core.errors import UsageError
from procrop_model.datasets.fcdb import read_fcdb, read_fcdb_pairs
from procrop_model.datasets.halves import CHECK, CHOOSE, half_of, half_set
from tests.miniature_sets import fcdb


def test_the_half_of_a_name_never_changes() -> None:
    assert [half_of(name) for name in ("a.jpg", "b.jpg", "12.jpg")] == [CHOOSE, CHOOSE, CHECK]
    share = sum(half_of(f"{number}.jpg") == CHECK for number in range(2000)) / 2000
    assert 0.47 < share < 0.53


def test_halves_are_disjoint_and_complete(tmp_path: Path) -> None:
    found = read_fcdb(fcdb(tmp_path), "test")
    choose, check = (half_set(found, half) for half in (CHOOSE, CHECK))
    names = [{image.name for image in part.images} for part in (choose, check)]
    assert names[0] | names[1] == {image.name for image in found.images} and not names[0] & names[1]
    assert check.notes[-1].startswith("the half 'check' by hash of the file name: ") and found.notes == check.notes[:-1]


def test_a_photograph_is_in_one_half_in_every_set(tmp_path: Path) -> None:
    (pair,) = read_fcdb_pairs(fcdb(tmp_path)).images
    half = half_of(pair.path.name)
    assert pair.name in {image.name for image in half_set(read_fcdb(tmp_path, "test"), half).images}


def test_an_unknown_half_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--half 'test': want choose"):
        half_set(read_fcdb(fcdb(tmp_path), "test"), "test")
