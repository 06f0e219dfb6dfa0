"""Our tars: read by everyone's reader, identical for identical members, damage found."""

import io
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.errors import DamagedDataError, UsageError
from pipeline.shards.tar_writer import TarWriter, header, members

MEMBERS = st.lists(
    st.tuples(st.from_regex(r"\A[a-z0-9_-]{1,20}\.(jpg|json|npy)\Z"), st.binary(max_size=2000)),
    max_size=8,
    unique_by=lambda pair: pair[0],
)


def pack(content):
    sink = io.BytesIO()
    writer = TarWriter(sink)
    places = [writer.add(name, data) for name, data in content]
    writer.finish()
    return sink.getvalue(), places


@settings(deadline=None)
@given(MEMBERS)
def test_round_trip_through_pythons_tarfile_and_ours(content):
    data, places = pack(content)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        infos = tar.getmembers()
        assert [(i.name, tar.extractfile(i).read()) for i in infos] == content
        assert all((i.mode, i.uid, i.gid, i.mtime) == (0o644, 0, 0, 0) and i.isfile() for i in infos)
    assert [(name, found) for name, _, found in members(io.BytesIO(data))] == content
    assert all(data[offset : offset + size] == body for (offset, size), (_, body) in zip(places, content, strict=True))
    assert pack(content)[0] == data


@pytest.mark.parametrize(
    "name", ["Upper.jpg", "two.dots.jpg", "noextension", "a/b.jpg", "x" * 91 + ".jpg", "spa ce.jpg"]
)
def test_names_outside_the_rules_are_refused(name):
    with pytest.raises(UsageError, match="cannot be a shard member"):
        header(name, 1)


def test_a_cut_tar_is_found():
    data, _ = pack([("a.jpg", b"x" * 700), ("b.jpg", b"y" * 700)])
    with pytest.raises(DamagedDataError):
        list(members(io.BytesIO(data[:1000])))
    with pytest.raises(DamagedDataError, match="ends early"):
        list(members(io.BytesIO(data[: 512 + 1024])))


def test_a_flipped_header_bit_is_found():
    data = bytearray(pack([("a.jpg", b"x" * 700)])[0])
    data[3] ^= 1
    with pytest.raises(DamagedDataError, match="checksum"):
        list(members(io.BytesIO(bytes(data))))
