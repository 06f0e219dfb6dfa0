"""Any sample of any tar, as webdataset would give it; damage is named."""

import io
import pickle
import tarfile
from concurrent.futures import ThreadPoolExecutor

import pytest
import webdataset as wds

from pipeline.core.errors import DamagedDataError, MissingUpstreamError, UsageError
from pipeline.shards.dataset import OPEN_FILES, ShardSet
from pipeline.shards.write_shard import write_shard

# webdataset leaves the file of a finished shard to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


def parts(number):
    return {"jpg": bytes([number % 251]) * (100 + 700 * number), "json": b'{"n": %d}' % number, "npy": b""}


@pytest.fixture
def home(tmp_path):
    """Three shards of 4, 1 and 3 samples with their indexes."""
    for folder in ("shards", "index"):
        (tmp_path / folder).mkdir()
    at = 0
    for shard, count in enumerate((4, 1, 3)):
        _, index = write_shard(
            tmp_path / "shards" / f"x-train-{shard:06d}.tar", [(f"{n:04d}", parts(n)) for n in range(at, at + count)]
        )
        (tmp_path / "index" / f"x-train-{shard:06d}.idx").write_bytes(index.encode())
        at += count
    return tmp_path


def streamed(tars):
    raw = wds.WebDataset([str(tar) for tar in tars], shardshuffle=False, empty_check=False)
    return [(s["__key__"], {name: s[name] for name in s if not name.startswith("__")}) for s in raw]


def test_it_equals_webdataset_in_order_and_in_any_order(home):
    with ShardSet.of_split(home, "train") as shards:
        expected = streamed(shards.tars)
        assert [tuple(sample) for sample in shards] == expected
        assert [tuple(shards[n]) for n in (7, 0, 4, 3)] == [expected[n] for n in (7, 0, 4, 3)]
        assert list(shards.keys()) == [key for key, _ in expected]
        assert [shards.locate(n) for n in (0, 3, 4, 5, 7)] == [(0, 0), (0, 3), (1, 0), (2, 0), (2, 2)]
        assert shards.read(2, 1, ("json",)).parts == {"json": b'{"n": 6}'}
        for wrong in (-1, 8):
            with pytest.raises(IndexError):
                shards[wrong]


def test_without_its_index_a_tar_is_scanned_to_the_same(home):
    expected = list(ShardSet.of_split(home / "shards", "train"))
    for path in (home / "index").iterdir():
        path.unlink()
    assert list(ShardSet.of_split(home, "train")) == expected


@pytest.mark.parametrize("dialect", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_foreign_tars_with_folders_long_names_and_missing_parts(tmp_path, dialect):
    name = ("a" * 60 + "/") * 2 + "Some.Name"
    with tarfile.open(tmp_path / "foreign.tar", "w", format=dialect) as tar:
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for member in ("folder/1.JPG", "folder/1.cls", "noextension", f"{name}.png", "folder/2.cls"):
            info = tarfile.TarInfo(member)
            info.size = len(member)
            tar.addfile(info, io.BytesIO(member.encode()))
    assert [tuple(sample) for sample in ShardSet([tmp_path / "foreign.tar"])] == streamed([tmp_path / "foreign.tar"])


def test_damaged_indexes_and_truncated_tars_are_refused(home):
    tar, index = home / "shards" / "x-train-000000.tar", home / "index" / "x-train-000000.idx"
    good, bytes_of_tar = index.read_bytes(), tar.read_bytes()
    index.write_bytes(good[:-1] + b"?")
    with pytest.raises(DamagedDataError, match=r"x-train-000000\.idx is damaged"):
        ShardSet.of_split(home, "train")
    index.write_bytes((home / "index" / "x-train-000002.idx").read_bytes())
    with pytest.raises(DamagedDataError, match="its index says"):
        ShardSet.of_split(home, "train")
    index.write_bytes(good)
    shards = ShardSet.of_split(home, "train")
    tar.write_bytes(bytes_of_tar[:3000])
    with pytest.raises(DamagedDataError, match="ends within a sample"):
        list(shards)
    with pytest.raises(DamagedDataError, match=r"x-train-000000\.tar has 3000 bytes"):
        ShardSet.of_split(home, "train")


def test_more_shards_than_open_files_many_threads_and_a_copy(tmp_path):
    tars = []
    for number in range(OPEN_FILES + 20):
        tars.append(tmp_path / f"x-val-{number:06d}.tar")
        write_shard(tars[-1], [(f"{number:04d}", parts(number % 3))])
    shards = ShardSet(tars)
    wanted = [number * 37 % len(tars) for number in range(600)]
    with ThreadPoolExecutor(4) as pool:
        assert [sample.key for sample in pool.map(shards.__getitem__, wanted)] == [f"{n:04d}" for n in wanted]
    assert list(pickle.loads(pickle.dumps(shards))) == list(shards)


def test_no_shards_and_a_shard_that_could_not_be_finished(tmp_path):
    with pytest.raises(MissingUpstreamError, match="procrop-data build"):
        ShardSet.of_split(tmp_path, "train")
    assert len(ShardSet.of_split(tmp_path, "val", needed=False)) == 0
    with pytest.raises(UsageError, match="cannot be a shard member"):
        write_shard(tmp_path / "a.tar", [("good", {"jpg": b""}), ("Bad", {"jpg": b""})])
    assert list(tmp_path.iterdir()) == []
