"""The splits of small sets: none stays empty, and growth moves no photograph back."""

from dataclasses import replace

from pipeline.core.records import Source
from stages.photos.split_assignment import split_of, splits_for_empty

SHARES = {"train": 0.9, "val": 0.05, "test": 0.05}


def photos(count: int, split: str = "") -> list[Source]:
    return [Source(f"key{i}", f"{i}.jpg", 0, "", "", "", "", "", "", split) for i in range(count)]


def splits_of(found: list[Source], moved: dict[str, str]) -> list[str]:
    return [moved.get(p.key) or p.split or split_of(p.key, SHARES, 0) for p in found]


def test_twelve_photographs_fill_all_splits():
    for count in range(3, 40):
        moved = splits_for_empty(photos(count), SHARES, 0, {})
        assert set(splits_of(photos(count), moved)) == set(SHARES), count
        assert len(moved) <= 2


def test_a_share_of_zero_stays_empty():
    assert splits_for_empty(photos(12), {"train": 1.0, "val": 0.0, "test": 0.0}, 0, {}) == {}


def test_two_photographs_fill_train_and_test():
    assert sorted(splits_of(photos(2), splits_for_empty(photos(2), SHARES, 0, {}))) == ["test", "train"]
    assert splits_of(photos(1), splits_for_empty(photos(1), SHARES, 0, {})) == ["train"]


def test_splits_that_the_credits_name_are_kept():
    named = photos(12, "train")
    assert splits_for_empty(named, SHARES, 0, {}) == {}
    moved = splits_for_empty([*named[:-2], *(replace(p, split="") for p in named[-2:])], SHARES, 0, {})
    assert set(moved) == {"key10", "key11"}


def test_growth_moves_no_photograph_back():
    before = splits_for_empty(photos(12), SHARES, 0, {})
    small = splits_of(photos(12), before)
    for count in (13, 40, 400):
        moved = splits_for_empty(photos(count), SHARES, 0, before)
        assert splits_of(photos(count), moved)[:12] == small
