"""The funnel adds up, names what is missing, and lists single samples."""

import json

import pytest

from pipeline.runs.status import failed_samples, file_of, funnel, ranges, rejected_samples
from tests.canned import SHARDS, canned_run
from tests.chain import make_photos, recipe_for, run_chain, session_for
from tests.fakes import FakeOutpainter


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return canned_run(tmp_path_factory.mktemp("funnel") / "work")


def test_counts_add_up_and_equal_the_receipts(finished):
    run, stages = finished
    for status, stage in zip(funnel(run, stages), stages, strict=True):
        receipts = run.receipts(stage.name)
        assert status.stage == stage.name and status.complete and status.missing == []
        assert status.n_in == status.kept + sum(status.rejected.values()) + sum(status.failed.values())
        assert status.kept == sum(r.n_kept for r in receipts)
        assert status.seconds["compute"] == pytest.approx(sum(r.seconds["compute"] for r in receipts), abs=0.002)


def test_reasons_and_failures_are_told_apart(finished):
    by_stage = {status.stage: status for status in funnel(*finished)}
    assert by_stage["ingest"].rejected == {"duplicate": 1, "truncated": 1}
    assert by_stage["propose"].failed == {"ValueError": 1} and by_stage["propose"].rejected == {}
    assert "prologue" in by_stage["filter"].seconds


def test_json_has_the_words_of_the_other_commands(finished):
    entry = json.loads(json.dumps(funnel(*finished)[0].as_json()))
    assert {"stage", "done", "total", "missing", "in", "kept", "rejected", "failed", "seconds", "rate"} <= set(entry)


def test_missing_shards_are_named(tmp_path):
    run, stages = canned_run(tmp_path / "work", until="ingest", skip=("ingest", 1))
    ingest, *later = funnel(run, stages)
    assert (ingest.done, ingest.total, ingest.missing) == (SHARDS - 1, SHARDS, [1])
    assert all(status.done == 0 and status.rate == 0 for status in later)


def test_an_empty_run_has_an_empty_funnel(tmp_path):
    run, stages = canned_run(tmp_path / "work", until="")
    assert all(status.n_in == 0 and len(status.missing) == SHARDS for status in funnel(run, stages))
    assert list(failed_samples(run, stages)) == []


def test_samples_are_listed_with_stage_shard_and_reason(finished):
    run, stages = finished
    failure, *others = failed_samples(run, stages)
    assert [row["stage"] for row in others] == ["refine/round-01", "refine/round-02"]
    assert failure["stage"] == "propose" and failure["detail"] == "ValueError: no subject"
    assert set(failure) == {"stage", "shard", "key", "file", "status", "reason", "detail"}
    reasons = [(row["stage"], row["reason"]) for row in rejected_samples(run, stages)]
    assert reasons.count(("filter", "low_score")) == 3
    assert ("outpaint", "blank") in reasons and ("ingest", "duplicate") in reasons


@pytest.mark.parametrize(
    ("numbers", "words"), [([], ""), ([3], "3"), ([0, 1, 2, 3, 7], "0-3,7"), ([1, 3, 5, 6], "1,3,5-6")]
)
def test_ranges_are_what_array_jobs_take(numbers, words):
    assert ranges(numbers) == words


def test_samples_are_named_by_the_file_of_their_photograph(tmp_path):
    session = session_for(
        recipe_for(make_photos(tmp_path / "src", 3)), tmp_path / "work", outpainter=FakeOutpainter(0.0)
    )
    (tmp_path / "src" / "bad.jpg").write_bytes(b"no picture")
    run_chain(session, until="filter")
    rows = list(rejected_samples(session.run, session.stages))
    assert {row["file"] for row in rows if row["stage"] == "ingest"} == {"bad.jpg"}
    assert file_of("ab12-03", {"ab12": "a.jpg"}) == "a.jpg (canvas 4)" and file_of("ab12", {"ab12": "a.jpg"}) == "a.jpg"
