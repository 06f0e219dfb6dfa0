"""When a shard, a prologue and an epilogue are done; asking changes nothing, reopening removes receipts."""

import pytest

from pipeline.core.errors import MissingUpstreamError, RefusedError
from pipeline.core.stage import Outcome, Stage, Task
from pipeline.engine.completion import ShardState, reopen, reopen_outdated, shard_state, shards_to_do
from pipeline.engine.run_level_steps import run_epilogue, run_prologue
from pipeline.engine.shard_runner import Control, run_shard
from pipeline.runs.run_directory import receipt_path, step_receipt_path
from tests.faults.poison import Thing, run_in

DONE, OUTDATED, ABSENT = ShardState.DONE, ShardState.OUTDATED, ShardState.ABSENT


class Upstream(Stage):
    name, record = "upstream", Thing

    def __init__(self, value=0, fails=False):
        self.value, self.fails = value, fails

    def settings(self):
        return {"value": self.value}

    def tasks(self, shard):
        return [Task(f"k{shard.number}", None)]

    def run(self, tasks, shard):
        if self.fails:
            raise ValueError("a bad sample")
        return [Outcome.kept(Thing(task.key, self.value)) for task in tasks]


class Downstream(Upstream):
    name, upstream = "downstream", ("upstream",)


class Grouped(Upstream):
    """Three shards of its own, made from the prologue's files alone."""

    name, upstream, regroups = "grouped", ("upstream",), True
    prologue_needed = epilogue_needed = True
    closed = 0  # how often its epilogue was made

    def shards(self, work_shards):
        return 3

    def prologue(self, tables):
        for number in range(3):
            yield f"{number}.txt", f"{number} {self.value}".encode()

    def shared_files(self, shard, names):
        return [f"{shard}.txt"]

    def epilogue(self, tables):
        self.closed += 1
        yield "grouped/card.txt", b"card"


@pytest.fixture
def run(tmp_path):
    run = run_in(tmp_path / "work")
    for stage in (Upstream(), Downstream()):
        do(stage, run, 0, 1)
    return run


def do(stage, run, *shards):
    return [run_shard(stage, run, shard, Control()) for shard in shards]


def files(run):
    return {path: path.read_bytes() for path in run.store.local_root.rglob("*") if path.is_file()}


def states(stage, run, **options):
    """Of shards 0 and 1; asserts that asking changed nothing."""
    before = files(run)
    found = [shard_state(stage, run, shard, **options) for shard in (0, 1)]
    assert files(run) == before
    return found


def test_a_shard_with_receipt_and_files_is_done(run):
    assert states(Downstream(), run) == [DONE, DONE] and shards_to_do(Downstream(), run) == []
    assert reopen_outdated(Downstream(), run, [0, 1]) == [] and states(Downstream(), run) == [DONE, DONE]


def test_a_shard_without_receipt_is_absent(run):
    run.store.remove(receipt_path("downstream", 1))
    assert states(Downstream(), run) == [DONE, ABSENT] and shards_to_do(Downstream(), run) == [1]
    assert reopen_outdated(Downstream(), run, [0, 1]) == [1] and run.receipt("downstream", 0) is not None


def test_a_shard_whose_file_is_gone_is_outdated(run):
    run.store.remove("downstream/000000.parquet")
    assert states(Downstream(), run) == [OUTDATED, DONE] and shards_to_do(Downstream(), run) == [0]
    assert reopen_outdated(Downstream(), run, [0, 1]) == [0] and states(Downstream(), run) == [ABSENT, DONE]


def test_a_shard_of_another_recipe_is_outdated(run):
    assert states(Downstream(value=1), run) == [OUTDATED, OUTDATED]


def test_a_shard_of_other_inputs_is_outdated(run):
    reopen(Upstream(value=1), run, 0)
    do(Upstream(value=1), run, 0)
    assert states(Downstream(), run) == [OUTDATED, DONE]


def test_a_shard_without_its_upstream_is_not_done(run):
    run.store.remove(receipt_path("upstream", 0))
    assert states(Downstream(), run) == [OUTDATED, DONE] and shards_to_do(Downstream(), run) == [0]
    for remove in (lambda: reopen(Downstream(), run, 0), lambda: reopen_outdated(Downstream(), run, [0, 1])):
        with pytest.raises(MissingUpstreamError, match="whose shard 0 is not done"):
            remove()
    assert run.receipt("downstream", 0) is not None


def test_failed_samples_are_done_unless_they_are_retried(run):
    stage = Downstream(fails=True)
    for shard in (0, 1):
        reopen(stage, run, shard)
    do(stage, run, 0, 1)
    assert states(stage, run) == [DONE, DONE]
    assert states(stage, run, retry=lambda receipt: "ValueError" in receipt.n_failed) == [OUTDATED, OUTDATED]
    assert states(stage, run, retry=lambda receipt: "OSError" in receipt.n_failed) == [DONE, DONE]


def test_a_shard_that_another_process_finished_is_not_done_again(run):
    before = run.receipt("downstream", 0)
    assert do(Downstream(), run, 0) == [before]


def test_shards_of_a_regrouping_stage_follow_the_prologue(run):
    stage = Grouped()
    assert shards_to_do(stage, run) == [0, 1, 2]
    run_prologue(stage, run, {"upstream": 2})
    do(stage, run, 0, 1, 2)
    assert shards_to_do(stage, run) == []
    run.store.remove(receipt_path("upstream", 0))
    assert shards_to_do(stage, run) == []
    run.store.remove(step_receipt_path("grouped", "prologue"))
    assert shards_to_do(stage, run) == [0, 1, 2] and states(stage, run) == [OUTDATED, OUTDATED]


def test_a_prologue_is_made_once_and_again_if_a_file_is_gone(run):
    stage = Grouped()

    def make():
        run_prologue(stage, run, {"upstream": 2})
        run_epilogue(stage, run, 3)
        return [run.store.read(step_receipt_path("grouped", step)) for step in ("prologue", "epilogue")]

    run_prologue(stage, run, {"upstream": 2})
    do(stage, run, 0, 1, 2)
    first = make()
    assert make() == first and stage.closed == 1
    run.store.remove("grouped/card.txt")
    again = make()
    assert again[0] == first[0] and stage.closed == 2 and run.store.exists("grouped/card.txt")
    with pytest.raises(RefusedError, match=r"grouped changed: settings\.value: 0 -> 1"):
        run_prologue(Grouped(value=1), run, {"upstream": 2})
