"""Receipts: counts add up, edits are found."""

import json
from dataclasses import replace

import pytest

from pipeline.core.errors import DamagedDataError
from pipeline.runs.receipts import Receipt, counts, difference

GOOD = Receipt(
    stage="filter", shard=3, shards=8, recipe={"version": 1, "settings": {"a": 1}}, inputs={"refine": "x"},
    outputs={"filter/000003.parquet": {"size": 10, "sha256": "ab"}},
    n_in=6, n_kept=3, n_rejected={"low_score": 2}, n_failed={"OSError": 1}, seconds={"read": 0.1}, host="h",
)  # fmt: skip


def test_round_trip():
    assert Receipt.decode(GOOD.encode(), "here") == GOOD


def test_counts_that_do_not_add_up_are_refused():
    with pytest.raises(DamagedDataError, match="5 in, but 6"):
        replace(GOOD, n_in=5).encode()
    body = json.loads(GOOD.encode())
    body["n_kept"] = 4
    with pytest.raises(DamagedDataError, match="6 in, but 7"):
        Receipt.decode(json.dumps(body).encode(), "here")


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b'{"fingerprint": "x", "format": 1}'])
def test_torn_receipts_are_damage(data):
    with pytest.raises(DamagedDataError):
        Receipt.decode(data, "here")


def test_an_edited_receipt_is_found():
    body = json.loads(GOOD.encode())
    body["recipe"]["settings"]["a"] = 2
    with pytest.raises(DamagedDataError, match="edited"):
        Receipt.decode(json.dumps(body).encode(), "here")


def test_a_newer_format_is_named():
    body = {**json.loads(GOOD.encode()), "format": 9}
    with pytest.raises(DamagedDataError, match="format 9"):
        Receipt.decode(json.dumps(body).encode(), "here")


def test_fingerprint_covers_recipe_and_inputs_but_not_times():
    assert replace(GOOD, seconds={"read": 9.0}, host="other").fingerprint == GOOD.fingerprint
    assert replace(GOOD, inputs={"refine": "y"}).fingerprint != GOOD.fingerprint
    assert replace(GOOD, recipe={"version": 2}).fingerprint != GOOD.fingerprint


def test_counting_verdicts():
    verdicts = [("kept", ""), ("rejected", "blank"), ("failed", "OSError")]
    assert counts(verdicts * 2) == (2, {"blank": 2}, {"OSError": 2})


def test_difference_names_each_changed_leaf():
    assert difference({"a": {"b": 1, "c": 2}}, {"a": {"b": 3, "c": 2}, "d": 4}) == ["a.b: 1 -> 3", "d: (absent) -> 4"]
