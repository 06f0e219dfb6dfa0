"""Which stages a run request means, and which of its fields become settings of the recipe."""

from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.app.run_stages import RunRequest, recipe_overrides, requested_stages, spoilt_stages
from pipeline.cli.run import HELP
from pipeline.core.errors import UsageError
from stages.recipe import Recipe, stages_of


@pytest.fixture(scope="module")
def session() -> Any:
    return SimpleNamespace(stages=stages_of(Recipe(name="test")), run=SimpleNamespace(receipts=lambda stage: []))


def test_every_stage_has_a_command_in_order(session: Any) -> None:
    names = requested_stages(session, RunRequest())
    assert names == [stage.name for stage in session.stages]
    assert list(dict.fromkeys(name.partition("/")[0] for name in names)) == list(HELP)


def test_until_names_the_last_stage(session: Any) -> None:
    assert requested_stages(session, RunRequest(until="caption")) == ["ingest", "perceive/photos", "dedup", "caption"]
    assert requested_stages(session, RunRequest(until="outpaint"))[-2:] == ["caption", "outpaint"]
    assert requested_stages(session, RunRequest(until="perceive"))[-2:] == ["outpaint", "perceive/canvases"]
    with pytest.raises(UsageError, match="--until paint: stages are ingest, perceive, dedup"):
        requested_stages(session, RunRequest(until="paint"))


def test_a_stage_runs_alone_or_with_what_it_needs(session: Any) -> None:
    assert requested_stages(session, RunRequest(stage="filter")) == ["filter"]
    names = requested_stages(session, RunRequest(stage="filter", with_upstream=True))
    before = ["ingest", "perceive/photos", "caption", "outpaint", "perceive/canvases", "propose"]
    assert names == [*before, *(f"refine/round-{number:02d}" for number in (1, 2, 3)), "filter"]


def test_perceive_does_what_can_be_done(session: Any) -> None:
    assert requested_stages(session, RunRequest(stage="perceive")) == ["perceive/photos"]
    painted = SimpleNamespace(stages=session.stages, run=SimpleNamespace(receipts=lambda stage: [stage]))
    assert requested_stages(painted, RunRequest(stage="perceive")) == ["perceive/photos", "perceive/canvases"]
    everything = requested_stages(session, RunRequest(stage="perceive", with_upstream=True))
    assert everything == ["ingest", "perceive/photos", "caption", "outpaint", "perceive/canvases"]


def test_a_stage_that_rejects_nearly_all_is_one_line() -> None:
    def result(stage: str, n_in: int, **rejected: int) -> Any:
        shards = [SimpleNamespace(n_in=n_in, n_rejected=rejected), SimpleNamespace(n_in=0, n_rejected={})]
        return SimpleNamespace(stage=stage, receipts=shards)

    good = [result("outpaint", 100, blank=95), result("ingest", 3, unreadable=3), result("filter", 0)]
    assert spoilt_stages(good, 0.95) == []
    (line,) = spoilt_stages([*good, result("outpaint", 8, blank=7, unsafe=1)], 0.95)
    assert line.startswith("outpaint rejected 8 of 8 (blank 7, unsafe 1), more than max_rejected=0.95 allows")


def test_options_become_settings_of_the_recipe(tmp_path: Any) -> None:
    assert recipe_overrides(RunRequest()) == []
    (tmp_path / "a.jpg").write_bytes(b"")
    request = RunRequest(shards=3, exclude_near=(str(tmp_path),))
    assert recipe_overrides(request) == ["build.shards=3", "build.exact=true", f'build.exclude_near=["{tmp_path}"]']
    assert recipe_overrides(RunRequest(overrides=("build.shards=9",))) == ["build.exact=false"]
    with pytest.raises(UsageError, match="--shards 0: at least one is needed"):
        recipe_overrides(RunRequest(shards=0))


@pytest.mark.parametrize(
    ("request_", "failed", "expected"),
    [
        (RunRequest(), {"truncated": 1}, False),
        (RunRequest(retry_failed=True), {"truncated": 1}, True),
        (RunRequest(retry_failed=True), {}, False),
        (RunRequest(retry_failed=True, reason="truncated"), {"too_small": 1}, False),
        (RunRequest(retry_failed=True, reason="truncated"), {"truncated": 1}, True),
    ],
)
def test_a_retry_is_for_failed_samples(request_: RunRequest, failed: dict[str, int], expected: bool) -> None:
    assert request_.should_retry(SimpleNamespace(n_failed=failed)) is expected  # type: ignore[arg-type]
