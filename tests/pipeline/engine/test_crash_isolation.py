"""A sample that kills its process costs only itself; a machine that kills everything is no sample's fault."""

import shutil

import pytest

from pipeline.core.errors import ProcropError
from pipeline.engine.crash_isolation import DeathCounter, bisect_crashes
from pipeline.runs.crash_list import add_crashed, crashed_path, read_crashed
from pipeline.shards import parquet
from tests.faults.poison import Poisoned, do, run_in


def rows(work, shard):
    return parquet.decode((work / f"poisoned/{shard:06d}.parquet").read_bytes())


@pytest.mark.parametrize(("images", "how", "death"), [(False, "exit", "exit code 3"), (True, "segfault", "SIGSEGV")])
def test_a_deadly_sample_is_a_row_and_the_rest_keep_their_bytes(tmp_path, images, how, death):
    do(Poisoned(images=images), tmp_path / "healthy")
    receipts = do(Poisoned({"k06"}, images=images, how=how), tmp_path / "work")
    assert receipts[0].n_failed == {"crashed": 1} and receipts[0].n_kept == 9 and receipts[1].n_kept == 10
    assert receipts[0].n_in == 10
    (bad,) = [row for row in rows(tmp_path / "work", 0) if row["status"] == "failed"]
    assert (bad["key"], bad["reason"]) == ("k06", "crashed") and death in bad["detail"]
    places = ("image_offset",)  # what follows it in the tar lies earlier
    strip = lambda found: [{k: v for k, v in row.items() if k not in places} for row in found if row["key"] != "k06"]  # noqa: E731
    assert strip(rows(tmp_path / "work", 0)) == strip(rows(tmp_path / "healthy", 0))
    assert (tmp_path / "work/poisoned/000001.parquet").read_bytes() == (
        tmp_path / "healthy/poisoned/000001.parquet"
    ).read_bytes()
    left = [
        path for path in (tmp_path / "work").rglob("*") if path.is_file() and path.parent.name in ("journal", "locks")
    ]
    assert left == []


@pytest.mark.long
def test_one_worker_and_deadly_samples_give_the_same_bytes(tmp_path):
    stage = Poisoned({"k00", "k18"}, images=True)
    first, second = do(stage, tmp_path / "two"), do(stage, tmp_path / "one", workers=1)
    assert first[0].outputs == second[0].outputs and first[0].n_failed == {"crashed": 2}


@pytest.mark.long
def test_retrying_the_crashed_tries_them_again(tmp_path):
    flag = tmp_path / "deadly"
    flag.touch()
    stage = Poisoned({"k06"}, flag=str(flag))
    assert do(stage, tmp_path / "work", shards=[0])[0].n_failed == {"crashed": 1}
    flag.unlink()
    run_in(tmp_path / "work").store.remove("poisoned/000000.receipt.json")  # as the runner does for --retry-failed
    assert do(stage, tmp_path / "work", shards=[0])[0].n_failed == {}


def test_a_process_that_is_killed_from_outside_costs_no_sample(tmp_path):
    flag = tmp_path / "once"
    flag.touch()
    receipts = do(Poisoned({"k06"}, how="once", flag=str(flag), images=True), tmp_path / "work")
    assert not flag.exists() and [receipt.n_failed for receipt in receipts.values()] == [{}, {}]
    do(Poisoned(images=True), tmp_path / "healthy")
    for name in ("000000.tar", "000000.parquet"):
        assert (tmp_path / f"work/poisoned/{name}").read_bytes() == (tmp_path / f"healthy/poisoned/{name}").read_bytes()


@pytest.mark.long
def test_a_machine_that_kills_everything_blames_no_sample(tmp_path):
    everything = {f"k{number:02d}" for number in range(20)}
    with pytest.raises(ProcropError, match="a worker process died in poisoned, again and again"):
        do(Poisoned(everything, how="kill"), tmp_path / "work")
    assert list((tmp_path / "work").rglob("*.crashed.json")) == []


def test_bisection_blames_only_who_kills_alone_and_twice():
    asked = []

    def kills(keys, deadly=frozenset("cf")):
        asked.append(list(keys))
        return "signal 11" if deadly & set(keys) else ""

    assert bisect_crashes(list("abcdefgh"), kills) == {"c": "signal 11", "f": "signal 11"}
    assert len(asked) <= 2 * 2 * 3 + 4
    assert bisect_crashes(list("abcd"), lambda keys: "together" if len(keys) > 1 else "") == {}
    once = iter(["signal 9", ""])
    assert bisect_crashes(["a"], lambda keys: next(once)) == {}


def test_too_many_deaths_without_progress_exceed_the_limit():
    deaths = DeathCounter(workers=2)
    assert deaths.add(0) and not deaths.add(0)
    for shard in range(1, 5):
        deaths.add(shard)
    assert deaths.exceeded
    deaths.progress()
    assert not deaths.exceeded


def test_what_was_found_is_forgotten_when_the_work_is_another(tmp_path):
    store = run_in(tmp_path / "work").store
    add_crashed(store, "s", 3, "identity", {"a": "signal 9"})
    add_crashed(store, "s", 3, "identity", {"b": "signal 11"})
    assert read_crashed(store, "s", 3, "identity") == {"a": "signal 9", "b": "signal 11"}
    assert read_crashed(store, "s", 3, "other") == {}
    store.write(crashed_path("s", 3), b"{torn")
    assert read_crashed(store, "s", 3, "identity") == {}
    shutil.rmtree(tmp_path / "work")
