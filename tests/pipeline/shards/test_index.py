"""An index says what the headers say; what is damaged is found, not believed."""

import io
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.errors import DamagedDataError
from pipeline.shards.index import ShardIndex, scan_tar
from pipeline.shards.write_shard import write_shard

PARTS = st.dictionaries(st.sampled_from(["jpg", "json", "npy"]), st.binary(max_size=1500), min_size=1)
SAMPLES = st.dictionaries(st.from_regex(r"\A[a-z0-9_-]{1,12}\Z"), PARTS, max_size=6)
PLAIN = {f"{n:03d}": {"jpg": bytes([n]) * (600 * n), "json": b"{}", "npy": b""} for n in range(5)}


def same(a, b):
    return (a.keys.tolist(), a.extensions, a.places.tolist(), a.tar_size) == (
        b.keys.tolist(), b.extensions, b.places.tolist(), b.tar_size,
    )  # fmt: skip


@settings(deadline=None, max_examples=40)
@given(SAMPLES)
def test_it_equals_the_headers_and_survives_its_file(tmp_path_factory, samples):
    tar = tmp_path_factory.mktemp("index") / "a.tar"
    about, index = write_shard(tar, samples.items())
    assert about["size"] == tar.stat().st_size == index.tar_size
    assert same(scan_tar(tar), index) and same(ShardIndex.decode(index.encode(), "here"), index)
    data = tar.read_bytes()
    for key, row in zip(index.keys.tolist(), index.places.tolist(), strict=True):
        parts = {e: data[o : o + n] for e, (o, n) in zip(index.extensions, row, strict=True) if o >= 0}
        assert parts == samples[key.decode()]


def test_every_flipped_byte_of_its_body_and_every_cut_is_found(tmp_path):
    _, index = write_shard(tmp_path / "a.tar", PLAIN.items())
    data = index.encode()
    for at in range(data.index(b"\n") + 1, len(data), 7):
        with pytest.raises(DamagedDataError, match="verify --repair"):
            ShardIndex.decode(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], "here")
    for end in range(0, len(data), 13):
        with pytest.raises(DamagedDataError, match="the index here is damaged"):
            ShardIndex.decode(data[:end], "here")
    with pytest.raises(DamagedDataError, match="reads procrop-index-1"):
        ShardIndex.decode(data.replace(b"procrop-index-1", b"procrop-index-2"), "here")


def test_a_tar_that_ends_early_is_found_at_every_block(tmp_path):
    write_shard(tmp_path / "a.tar", PLAIN.items())
    data = (tmp_path / "a.tar").read_bytes()
    for end in [*range(0, len(data) - 1024, 512), 700, 5000]:
        (tmp_path / "cut.tar").write_bytes(data[:end])
        with pytest.raises(DamagedDataError, match=r"cut\.tar is damaged"):
            scan_tar(tmp_path / "cut.tar")


def test_a_broken_header_in_the_middle_is_not_taken_for_the_end(tmp_path):
    _, index = write_shard(tmp_path / "a.tar", PLAIN.items())
    data = bytearray((tmp_path / "a.tar").read_bytes())
    data[index.places[2, 0, 0] - 512 + 3] ^= 1
    (tmp_path / "a.tar").write_bytes(data)
    with pytest.raises(DamagedDataError, match=r"a\.tar is damaged"):
        scan_tar(tmp_path / "a.tar")


def test_a_part_that_is_there_twice_is_refused(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for _ in range(2):
            tar.addfile(tarfile.TarInfo("a.jpg"), io.BytesIO())
    with pytest.raises(DamagedDataError, match="twice in one sample"):
        scan_tar(tmp_path / "a.tar")
