"""The journal: what was flushed is found again, what was torn never happened."""

import hashlib
import tarfile
from contextlib import closing
from dataclasses import dataclass

import pytest

from pipeline.core.stage import Outcome
from pipeline.runs.journal import Journal
from pipeline.shards.index import scan_tar


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
