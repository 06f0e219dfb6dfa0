"""The share of a run that is done, and the stage that is at work."""

import pytest

from pipeline.planning.whole_run import Expected, WholeRun

STAGES = {"ingest": Expected(10, 5.0), "outpaint": Expected(20, 90.0), "build": Expected(15, 5.0)}


def test_the_share_follows_the_expected_seconds():
    run = WholeRun(STAGES)
    assert run.share == 0 and run.left_text() == ""
    run.begin("ingest", 1.0)
    run.end("ingest")
    run.advance("outpaint", 10)
    assert run.share == pytest.approx(0.5) and run.left_text().startswith("about ")
    run.end("outpaint")
    run.end("build")
    assert run.share == 1.0


def test_shards_done_before_are_no_work():
    run = WholeRun(STAGES)
    assert run.begin("outpaint", 0.5) == 10
    run.begin("ingest", 0.0)
    run.advance("outpaint", 10)
    assert run.share == pytest.approx(45 / 50)


def test_titles_say_which_stage_of_how_many():
    assert WholeRun(STAGES).title("outpaint") == "stage 2 of 3, outpaint (painting)"
    assert WholeRun({}).title("verify") == "verify" and not WholeRun({}).known
    assert WholeRun({}).begin("outpaint", 1.0) == 0
