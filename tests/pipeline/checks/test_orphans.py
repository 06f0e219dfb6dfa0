"""What writers that died or lost their shard left is removed; files of others, and of runs at work, are not."""

import pytest

from benchmarks.fault_actors import Actor
from benchmarks.fault_kinds import all_files
from benchmarks.fault_stages import stages_of
from benchmarks.fault_stores import place_of
from pipeline.checks.orphans import sweep_orphans
from pipeline.checks.verify import verify_run
from pipeline.runs.final_shard_diff import announce
from pipeline.runs.receipts import Receipt
from pipeline.runs.run_directory import Run
from pipeline.storage.base import describe
from pipeline.storage.locks import shard_lock

STAGES = stages_of("a", lambda: None)
HEX = "0123456789abcdef" * 2
LEFT = (
    f"plan.json.partial.{HEX}", f"locks/paint-000000.json.partial.{HEX}", f"paint/000000.tar.partial.{HEX}",
    f"dataset/shards/x-train-000000.tar.partial.{HEX}", f"pack/retired/000000-abc.json.partial.{HEX}", "paint/000007.tar",
    "pack/shared/000009.parquet",
)  # fmt: skip
KEPT = (
    "paint/notes.txt",
    "dataset/shards/mine.tar",
    "paint/000000.tar.partial.host.1-1",
    "models/a.partial.bin",
    "notes/x.tar",
)


@pytest.fixture(params=["disk", "hdfs"])
def run(request):
    with place_of(request.param) as place:
        actor = Actor(place.store("run"), "a").start()
        assert actor.word == "done", actor.trace
        yield Run(place.store("run"), actor.run().plan)


def test_what_dead_writers_left_is_removed(run):
    before = all_files(run.store)
    journal = run.store.scratch_folder() / "paint" / "journal"
    journal.mkdir(parents=True, exist_ok=True)
    (journal / "000001-abcd.jsonl").write_text("x")
    for path in (*LEFT, *KEPT):
        run.store.write(path, b"x")
    assert sorted(sweep_orphans(run, STAGES, settle_s=0.01)) == sorted(LEFT)
    assert sorted(all_files(run.store)) == sorted([*before, *KEPT]) and list(journal.iterdir()) == []
    assert verify_run(run, STAGES).sound and sweep_orphans(run, STAGES) == []


def test_files_of_a_shard_without_receipt_are_removed(run):
    run.store.remove("paint/000001.receipt.json")
    assert sweep_orphans(run, STAGES) == ["paint/000001.parquet", "paint/000001.tar"]
    assert run.store.exists("paint/000000.tar")


def test_final_shards_that_a_late_writer_announced_are_removed(run):
    receipt = run.receipt("pack", 0)
    late = Receipt(**{**vars(receipt), "outputs": {"dataset/shards/x-val-000000.tar": describe(b"x")}})
    announce(run, late)
    run.store.write("dataset/shards/x-val-000000.tar", b"x")
    assert sweep_orphans(run, STAGES) == ["dataset/shards/x-val-000000.tar"]
    assert run.store.exists("dataset/shards/x-train-000000.tar")


def test_nothing_is_removed_while_a_run_is_at_work(run):
    run.store.write("paint/000007.tar", b"x")
    with shard_lock(run.store, "read", 0):
        assert sweep_orphans(run, STAGES) == []
    assert run.store.exists("paint/000007.tar")
