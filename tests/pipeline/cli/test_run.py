"""Which stages a run request means, and which of its fields become settings of the recipe."""

from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.app.run_stages import RunRequest, recipe_overrides, requested_verbs
from pipeline.cli.run import HELP
from pipeline.core.errors import UsageError
from stages.recipe import Recipe, stages_of


@pytest.fixture(scope="module")
def session() -> Any:
    return SimpleNamespace(stages=stages_of(Recipe(name="test")))


def test_every_stage_has_a_command_in_order(session: Any) -> None:
    assert requested_verbs(session, RunRequest()) == list(HELP)


def test_until_names_the_last_stage(session: Any) -> None:
    assert requested_verbs(session, RunRequest(until="caption")) == ["ingest", "dedup", "caption"]
    with pytest.raises(UsageError, match="--until paint: stages are ingest, dedup"):
        requested_verbs(session, RunRequest(until="paint"))


def test_a_stage_runs_alone_or_with_what_it_needs(session: Any) -> None:
    assert requested_verbs(session, RunRequest(stage="filter")) == ["filter"]
    verbs = requested_verbs(session, RunRequest(stage="filter", with_upstream=True))
    assert verbs == ["ingest", "caption", "outpaint", "propose", "refine", "filter"]


def test_options_become_settings_of_the_recipe(tmp_path: Any) -> None:
    assert recipe_overrides(RunRequest()) == []
    (tmp_path / "a.jpg").write_bytes(b"")
    request = RunRequest(shards=3, exclude_near=(str(tmp_path),))
    assert recipe_overrides(request) == ["build.shards=3", f'build.exclude_near=["{tmp_path}"]']
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
