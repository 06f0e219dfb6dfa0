"""The journal: what was flushed is found again, what was torn never happened."""

import hashlib
import tarfile
from contextlib import closing
from dataclasses import dataclass

import pytest

from pipeline.core.errors import RefusedError
from pipeline.core.stage import Outcome
from pipeline.engine.shard_runner import shard_identity
from pipeline.runs.journal import Journal, Ownership
from pipeline.runs.plan import Plan
from pipeline.runs.run_directory import Run
from pipeline.shards.index import scan_tar
from pipeline.storage.open_store import open_store
from tests.faults.poison import Poisoned


@dataclass(frozen=True)
class Row:
    key: str


def outcome(key):
    return Outcome.kept(Row(key), {"jpg": key.encode() * 300})


@pytest.fixture
def half_done(tmp_path):
    journal = Journal(tmp_path, 7, "identity")
    journal.append([outcome("a"), outcome("b")])
    journal.append([outcome("c")])
    journal.close()
    return tmp_path


def names(folder, journal):
    journal.finish()
    with tarfile.open(folder / "000007.tar") as tar:
        return [info.name for info in tar]


def test_a_reopened_journal_goes_on(half_done):
    with closing(Journal(half_done, 7, "identity")) as journal:
        assert journal.batches == 2 and [row["key"] for row in journal.rows] == ["a", "b", "c"]
        journal.append([outcome("d")])
        assert names(half_done, journal) == ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]


def test_bytes_equal_an_undisturbed_journal(half_done, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    with closing(Journal(half_done, 7, "identity")) as resumed, closing(Journal(other, 7, "identity")) as straight:
        resumed.append([outcome("d")])
        resumed.finish()
        for batch in (["a", "b"], ["c"], ["d"]):
            straight.append([outcome(key) for key in batch])
        straight.finish()
        assert (half_done / "000007.tar").read_bytes() == (other / "000007.tar").read_bytes()
        assert resumed.rows == straight.rows


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_a_torn_line_loses_one_micro_batch(half_done, cut):
    lines = half_done / "000007.jsonl"
    lines.write_bytes(lines.read_bytes()[:-cut])
    with closing(Journal(half_done, 7, "identity")) as journal:
        assert journal.batches == 1 and [row["key"] for row in journal.rows] == ["a", "b"]
        journal.append([outcome("c")])
        assert names(half_done, journal) == ["a.jpg", "b.jpg", "c.jpg"]


def test_a_tar_shorter_than_its_journal_is_cut_back(half_done):
    tar = half_done / "000007.tar"
    tar.write_bytes(tar.read_bytes()[:-600])
    with closing(Journal(half_done, 7, "identity")) as journal:
        assert journal.batches == 1


def test_another_identity_starts_anew(half_done):
    with closing(Journal(half_done, 7, "other")) as journal:
        assert journal.batches == 0 and journal.rows == []
        journal.append([outcome("z")])
        assert names(half_done, journal) == ["z.jpg"]


def test_discard_leaves_nothing(half_done):
    journal = Journal(half_done, 7, "identity")
    journal.close()
    journal.discard()
    assert list(half_done.iterdir()) == []


def test_a_tar_that_is_not_what_its_lines_say_is_written_anew(half_done):
    tar = half_done / "000007.tar"
    data = bytearray(tar.read_bytes())
    data[600] ^= 1
    tar.write_bytes(data)
    with closing(Journal(half_done, 7, "identity")) as journal:
        assert journal.batches == 0 and journal.rows == []
        journal.append([outcome("z")])
        assert names(half_done, journal) == ["z.jpg"]


def test_size_digest_and_index_match_the_file_after_a_resume(half_done):
    with closing(Journal(half_done, 7, "identity")) as journal:
        journal.append([outcome("d")])
        about = journal.finish()
        data = (half_done / "000007.tar").read_bytes()
        assert about == {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        assert journal.index().encode() == scan_tar(half_done / "000007.tar").encode()


A, B = Ownership("aaaa"), Ownership("bbbb")


def test_a_new_owner_goes_on_in_files_of_its_own(half_done):
    with closing(Journal(half_done, 7, "identity", A)) as journal:
        assert journal.batches == 2
        journal.append([outcome("d")])
    assert sorted(path.name for path in half_done.iterdir()) == ["000007-aaaa.jsonl", "000007-aaaa.tar"]
    with closing(Journal(half_done, 7, "identity", B)) as journal:
        assert journal.batches == 3 and [row["key"] for row in journal.rows] == ["a", "b", "c", "d"]
        journal.discard()
    assert list(half_done.iterdir()) == []


def test_an_owner_that_wakes_writes_to_nobodys_file(half_done):
    """A sleeps, B takes over and goes on, A wakes and appends: B's rows and bytes are as if A had never woken."""
    sleeper = Journal(half_done, 7, "identity", A)
    with closing(Journal(half_done, 7, "identity", B)) as mine:
        assert mine.batches == 2
        sleeper.append([outcome("k1"), outcome("k2")])
        mine.append([outcome("d")])
        sleeper.append([outcome("k3")])
        sleeper.close()
        mine.finish()
        with tarfile.open(half_done / "000007-bbbb.tar") as tar:
            assert [info.name for info in tar] == ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    with closing(Journal(half_done, 7, "identity", Ownership("cccc"))) as third:
        assert [row["key"] for row in third.rows] == ["a", "b", "c", "d"]


def test_a_record_that_does_not_continue_the_last_is_refused(half_done):
    lines = half_done / "000007.jsonl"
    first, *rest = lines.read_bytes().splitlines(keepends=True)
    for wrong in ([first, rest[0], rest[0], rest[1]], [first, rest[1]], [first, rest[0], rest[1], rest[1]]):
        lines.write_bytes(b"".join(wrong))
        with closing(Journal(half_done, 7, "identity", Ownership("x"))) as journal:
            keys = [row["key"] for row in journal.rows]
            assert len(keys) == len(set(keys)) and keys == ["a", "b", "c"][: len(keys)]
        for path in half_done.glob("*-x.*"):
            path.replace(half_done / path.name.replace("-x", ""))


def test_an_owner_that_another_followed_writes_no_more(half_done):
    """A, B, A: the last record is of an owner that woke after it was followed."""
    with closing(Journal(half_done, 7, "identity", A)) as journal:
        journal.append([outcome("d")])
    with closing(Journal(half_done, 7, "identity", B)) as journal:
        journal.append([outcome("e")])
    for path in half_done.glob("000007-bbbb.*"):
        path.replace(half_done / path.name.replace("bbbb", "aaaa"))
    with closing(Journal(half_done, 7, "identity", A)) as journal:
        journal.append([outcome("f")])
    with closing(Journal(half_done, 7, "identity", Ownership("cccc"))) as journal:
        assert [row["key"] for row in journal.rows] == ["a", "b", "c", "d", "e"]


def test_who_lost_the_lock_removes_no_journal(half_done):
    """B took over and works; A wakes as it opens its journal."""
    with closing(Journal(half_done, 7, "identity", B)) as mine:
        with pytest.raises(RefusedError, match="taken over"):
            Journal(half_done, 7, "identity", Ownership("aaaa", confirm=lost))
        mine.append([outcome("d")])
        mine.finish()
        with tarfile.open(half_done / "000007-bbbb.tar") as tar:
            assert [info.name for info in tar] == ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]


def lost():
    raise RefusedError("taken over")


def test_nothing_is_written_once_the_lock_is_lost(half_done):
    with closing(Journal(half_done, 7, "identity", Ownership("dddd", check=lost))) as journal:
        before = (half_done / "000007-dddd.jsonl").read_bytes()
        with pytest.raises(RefusedError, match="taken over"):
            journal.append([outcome("d")])
        assert (half_done / "000007-dddd.jsonl").read_bytes() == before


def test_a_run_with_another_seed_takes_no_rows_of_an_old_one(tmp_path):
    runs = [Run(open_store(str(tmp_path)), Plan("test", seed, 2)) for seed in (0, 1)]
    one, two = (shard_identity(Poisoned(images=True), {"sources": "x"}, run) for run in runs)
    assert one != two
