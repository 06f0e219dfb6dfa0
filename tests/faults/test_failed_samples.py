"""Samples that fail, again and again or once, and workers that die: rows, counts, one line, and a rerun that mends."""

import pytest

from pipeline.core.errors import ProcropError, TooManyFailuresError
from pipeline.engine.shard_runner import Control, run_shard
from tests.chain import make_photos, recipe_for, run_chain, session_for
from tests.fakes import TroubledOutpainter


@pytest.fixture
def photos(tmp_path):
    return make_photos(tmp_path / "photos", 6)


@pytest.fixture
def flag(tmp_path):
    path = tmp_path / "trouble"
    path.touch()
    return path


def outpaint(session):
    return next(stage for stage in session.stages if stage.name == "outpaint")


def by_reason(results):
    return sum(sum(receipt.n_failed.values()) for receipt in results[-1].receipts), sum(
        receipt.n_kept for receipt in results[-1].receipts
    )


def test_a_failed_sample_costs_only_itself_and_a_retry_mends_it(photos, flag, tmp_path):
    work, recipe = tmp_path / "work", recipe_for(photos)
    session = session_for(recipe, work, outpainter=TroubledOutpainter(flag=str(flag)))
    failed, kept = by_reason(run_chain(session, until="outpaint"))
    assert failed > 0 and kept > 0
    rows = [row for shard in range(3) for row in session.run.rows("outpaint", shard) if row["status"] == "failed"]
    assert len(rows) == failed
    assert {row["reason"] for row in rows} == {"ValueError"} and "returned nothing" in rows[0]["detail"]
    again = by_reason(run_chain(session, until="outpaint"))
    assert again == (failed, kept)  # what failed stays failed until it is asked for again
    flag.unlink()
    mended = run_chain(session, until="outpaint", retry=lambda receipt: "ValueError" in receipt.n_failed)
    assert by_reason(mended) == (0, failed + kept)


def test_too_many_failures_in_a_row_stop_the_run(photos, flag, tmp_path):
    session = session_for(recipe_for(photos), tmp_path / "work", outpainter=TroubledOutpainter(flag=str(flag), share=1))
    run_chain(session, until="caption")
    busiest = max(range(3), key=lambda shard: session.run.receipt("ingest", shard).n_kept)
    with pytest.raises(TooManyFailuresError, match="failed 3 samples in a row, the last with ValueError"):
        run_shard(outpaint(session), session.run, busiest, Control(max_consecutive_failures=3))


@pytest.mark.long
def test_dying_workers_are_one_line_and_a_rerun_mends_it(photos, flag, tmp_path):
    work, recipe = tmp_path / "work", recipe_for(photos)
    session = session_for(recipe, work, outpainter=TroubledOutpainter(flag=str(flag), deadly=True, share=1))
    with pytest.raises(ProcropError, match="a worker process died in outpaint"):
        run_chain(session, workers=2, until="outpaint")
    flag.unlink()
    failed, kept = by_reason(run_chain(session, workers=2, until="outpaint"))
    assert failed == 0 and kept > 0


def test_bugs_are_not_swallowed(photos, tmp_path):
    session = session_for(recipe_for(photos), tmp_path / "work")
    run_chain(session, until="caption")
    outpaint(session)._outpainter = None
    with pytest.raises(AttributeError):
        run_shard(outpaint(session), session.run, 0, Control())
