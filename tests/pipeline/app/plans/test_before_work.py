"""What stops a run is said before it begins, with the fix, and nothing is left behind."""

import shutil

import pytest

from pipeline.app.plans import before_work
from pipeline.app.plans.before_work import check_before_work, findings_before, require_possible
from pipeline.app.plans.photo_count import count_photos, given_photos
from pipeline.app.plans.plan_fleet import PlannedRun
from pipeline.app.plans.run_forecast import forecast_run
from pipeline.app.progress import Display
from pipeline.app.run_stages import RunRequest, run_stages_of
from pipeline.core.errors import ModelError, StorageError, UsageError
from pipeline.planning.wall_clock import Fleet
from pipeline.storage.open_store import open_store
from tests.chain import make_photos, recipe_for, run_chain, session_for


class MissingScorer:
    name = "missing"
    licence = "none"

    @property
    def digest(self) -> str:
        raise ModelError("no checkpoint 'scorer': run 'procrop-data doctor'")


@pytest.fixture
def session(tmp_path):
    return session_for(recipe_for(make_photos(tmp_path / "src", 4)), tmp_path / "work")


def texts(session, photos, names=None, **planned):
    run = PlannedRun(session.recipe, session.stages, session.run.store, session.run.plan, **planned)
    stages = [stage for stage in session.stages if names is None or stage.name in names]
    return findings_before(run, stages, photos, forecast_run(run, photos, Fleet(1))[0])


def test_a_possible_run_has_no_findings(session):
    assert texts(session, given_photos(session.recipe, 12)) == []


def test_more_shards_than_canvases_are_noted_or_refused(tmp_path):
    for exact in (False, True):
        recipe = recipe_for(make_photos(tmp_path / "src", 4), build={"shards": 64, "exact": exact})
        found = texts(session_for(recipe, tmp_path / "work"), given_photos(recipe, 4))
        assert len(found) == 1 and "build.shards=64: 4 photographs give 10 canvases at most" in found[0].text
        assert found[0].error is (UsageError if exact else None)


def test_each_split_needs_a_shard(session):
    recipe = recipe_for(session.recipe.ingest.source, build={"shards": 2})
    (found,) = texts(session_for(recipe, session.run.store.local_root), given_photos(recipe, 12))
    assert found.error is UsageError and "train, test, val need a shard each; give build.shards=3" in found.text
    assert texts(session, count_photos(recipe, ["train"] * 12), ["build"]) == []


def test_empty_splits_are_named(session):
    (found,) = [f for f in texts(session, given_photos(session.recipe, 2)) if "no photograph for" in f.text]
    assert found.error is None and "no photograph for val" in found.text
    (none,) = texts(session, given_photos(session.recipe, 0), ["ingest"])
    assert none.error is UsageError and "no photographs in" in none.text


def test_large_runs_need_more_work_shards(session):
    (found,) = texts(session, given_photos(session.recipe, 10_000), ["ingest"])
    assert "give work_shards=10," in found.text


def test_a_missing_model_stops_before_the_first_stage(tmp_path):
    session = session_for(recipe_for(make_photos(tmp_path / "src", 4)), tmp_path / "work", scorer=MissingScorer())
    with pytest.raises(ModelError, match="no checkpoint 'scorer'"):
        check_before_work(planned_of(session), [stage.name for stage in session.stages], print)


def test_a_full_disk_stops_and_a_short_one_is_noted(session, monkeypatch):
    needed = sum(
        c.bytes for c in forecast_run(planned_of(session), given_photos(session.recipe, 12), Fleet(1))[0].costs
    )
    for share, error in ((0.2, StorageError), (1.0, None)):
        usage = shutil.disk_usage("/")._replace(free=int(share * needed))
        monkeypatch.setattr(before_work.shutil, "disk_usage", lambda home, usage=usage: usage)
        (found,) = texts(session, given_photos(session.recipe, 12))
        assert found.error is error and "are needed and" in found.text


def planned_of(session):
    return PlannedRun(session.recipe, session.stages, session.run.store, session.run.plan)


def test_a_finished_stage_is_not_checked_again(tmp_path):
    recipe = recipe_for(make_photos(tmp_path / "src", 4), build={"shards": 64})
    session = session_for(recipe, tmp_path / "work")
    run_chain(session, until="build")
    assert texts(session, given_photos(recipe, 4), ["build", "ingest"]) == []


def test_all_that_stops_is_one_error():
    stops = [
        before_work.Foreseen("a", UsageError),
        before_work.Foreseen("note"),
        before_work.Foreseen("b", StorageError),
    ]
    with pytest.raises(UsageError, match="a; and b"):
        require_possible(stops)


def test_a_refused_run_leaves_nothing_behind(tmp_path):
    make_photos(tmp_path / "src", 4)
    request = RunRequest(
        work=str(tmp_path / "work"), overrides=(f"ingest.source={tmp_path / 'src'}", "build.shards=2"), workers=1
    )
    with pytest.raises(UsageError, match="need a shard each"):
        run_stages_of(request, Display(quiet=True))
    assert not (tmp_path / "work").exists() and open_store(request.work).names("") == []
