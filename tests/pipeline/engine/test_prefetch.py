import threading

import pytest

from pipeline.core.errors import InterruptedRunError
from pipeline.core.stage import Outcome, SplitStage, Task
from pipeline.engine.prefetch import BatchHooks, prefetched
from pipeline.engine.shard_runner import Control, run_shard
from tests.chain import kept_rows, make_photos, recipe_for, run_chain, session_for
from tests.fakes import FakeOutpainter


class Split:
    """Doubles numbers; each step notes its thread. bad: step -> a number that it fails on."""

    def __init__(self, bad=()):
        self.bad, self.log, self.held, self.most = dict(bad), [], 0, 0

    def _step(self, name, numbers):
        if self.bad.get(name) in numbers:
            raise ValueError(f"{name} of {numbers}")
        self.log.append((name, threading.current_thread().name))

    def prepare(self, tasks, shard):
        self.held += 1
        self.most = max(self.most, self.held)
        self._step("prepare", [task.payload for task in tasks])
        return [task.payload for task in tasks]

    def compute(self, prepared):
        self._step("compute", prepared)
        return [2 * number for number in prepared]

    def finish(self, tasks, prepared, computed):
        self._step("finish", prepared)
        self.held -= 1
        return [Outcome(task.key, "kept", record=value) for task, value in zip(tasks, computed, strict=True)]


def batches(count):
    return [[Task(f"k{i}", i)] for i in range(count)]


def steps(stop_at=99, begun=None):
    def begin(index):
        if index == stop_at:
            raise InterruptedRunError("stop")
        if begun is not None:
            begun.append(index)

    return BatchHooks(begin, lambda batch, error: [Outcome(task.key, "failed", str(error)) for task in batch])


def values(found):
    return [outcome.record for group in found for outcome in group]


def test_outcomes_are_in_order_and_the_caller_computes():
    stage, begun = Split(), []
    assert values(prefetched(stage, None, batches(6), steps(begun=begun))) == [0, 2, 4, 6, 8, 10]
    assert begun == list(range(6)) and list(prefetched(stage, None, [], steps())) == []
    threads = {name: {t for n, t in stage.log if n == name} for name in ("prepare", "compute", "finish")}
    assert threads["compute"] == {threading.current_thread().name}
    assert not threads["prepare"] & threads["compute"] and not threads["finish"] & threads["compute"]


class Meeting(Split):
    """The model's step of a batch ends when its neighbours' steps have begun, which one thread alone could never do."""

    def __init__(self, count):
        super().__init__()
        self.last = count - 1
        self.begun = {(name, n): threading.Event() for name in ("prepare", "compute", "finish") for n in range(count)}
        self.met = []

    def _step(self, name, numbers):
        super()._step(name, numbers)
        (number,) = numbers
        self.begun[name, number].set()
        if name == "compute":
            neighbours = [("prepare", min(number + 1, self.last)), ("finish", max(number - 1, 0))]
            self.met += [self.begun[step].wait(60) for step in neighbours if step != ("finish", number)]


def test_neighbouring_steps_overlap_with_few_batches_in_memory():
    stage = Meeting(8)
    list(prefetched(stage, None, batches(8), steps()))
    assert stage.met == [True] * 15 and stage.most <= 4


@pytest.mark.parametrize("step", ["prepare", "compute", "finish"])
def test_a_batch_that_fails_leaves_the_others_alone(step):
    found = [group[0] for group in prefetched(Split(bad={step: 2}), None, batches(5), steps())]
    assert [outcome.status for outcome in found] == ["kept", "kept", "failed", "kept", "kept"]
    assert found[2].key == "k2" and step in found[2].reason


def test_what_is_done_is_handed_out_before_it_stops():
    found = []
    with pytest.raises(InterruptedRunError):
        for group in prefetched(Split(), None, batches(5), steps(stop_at=3)):
            found.append(group)
    assert values(found) == [0, 2, 4]


def test_overlapping_changes_no_byte(tmp_path):
    recipe = recipe_for(make_photos(tmp_path / "photos", 4), work_shards=1)
    for name in ("plain", "prefetched"):
        session = session_for(recipe, tmp_path / name)
        run_chain(session, until="caption")
        stage = next(stage for stage in session.stages if stage.name == "outpaint")
        assert isinstance(stage, SplitStage)
        run_shard(stage, session.run, 0, Control(overlap=name == "prefetched"))
    tars = [(tmp_path / name / "outpaint" / "000000.tar").read_bytes() for name in ("plain", "prefetched")]
    assert tars[0] == tars[1] and len(tars[0]) > 10_000


class Picky(FakeOutpainter):
    def paint(self, requests):
        if any(request.seed % 3 == 0 for request in requests):
            raise ValueError("not this one")
        return super().paint(requests)


def test_a_bad_sample_costs_only_itself(tmp_path):
    recipe = recipe_for(make_photos(tmp_path / "photos", 4), work_shards=1)
    session = session_for(recipe, tmp_path / "work", outpainter=Picky())
    result = run_chain(session, until="outpaint")[-1]
    (receipt,) = result.receipts
    assert receipt.n_failed.get("ValueError", 0) >= 1 and receipt.n_kept >= 1
    assert all(row["seed"] % 3 for row in kept_rows(session, "outpaint"))
    assert receipt.n_in == receipt.n_kept + sum(receipt.n_failed.values()) + sum(receipt.n_rejected.values())
