"""What was written is in the file and in the digest, wherever blocks end, syncs fall or a first writer stopped."""

import hashlib
from contextlib import closing

import numpy as np
import pytest

from pipeline.shards.hashing_file import BLOCK, HashedFile

DATA = np.random.default_rng(0).bytes(2 * BLOCK + 12345)


def write(path, pieces, start=0):
    """Each piece is written, ``None`` is a sync; gives the digest."""
    with closing(HashedFile(path, start)) as file:
        for piece in pieces:
            file.sync() if piece is None else file.write(piece)
        file.sync()
        return file.hexdigest()


@pytest.mark.parametrize("size", [0, 1, 512, BLOCK - 1, BLOCK, BLOCK + 1, len(DATA)])
def test_one_piece(tmp_path, size):
    assert write(tmp_path / "f", [DATA[:size]]) == hashlib.sha256(DATA[:size]).hexdigest()
    assert (tmp_path / "f").read_bytes() == DATA[:size]


@pytest.mark.parametrize("step", [70_001, BLOCK // 2, BLOCK])
@pytest.mark.parametrize("every", [1, 7])
def test_pieces_with_syncs_between(tmp_path, step, every):
    pieces = []
    for number, start in enumerate(range(0, len(DATA), step)):
        pieces += [DATA[start : start + step], *([None] if number % every == 0 else [])]
    assert write(tmp_path / "f", pieces) == hashlib.sha256(DATA).hexdigest()
    assert (tmp_path / "f").read_bytes() == DATA


@pytest.mark.parametrize("length", [1, 512, BLOCK - 1, BLOCK, BLOCK + 700, 2 * BLOCK])
def test_what_was_there_stays_and_counts(tmp_path, length):
    (tmp_path / "f").write_bytes(DATA[:length] + b"torn")
    assert write(tmp_path / "f", [DATA[length:]], start=length) == hashlib.sha256(DATA).hexdigest()
    assert (tmp_path / "f").read_bytes() == DATA


def test_more_than_all_blocks_in_flight(tmp_path):
    assert write(tmp_path / "f", [DATA] * 4) == hashlib.sha256(DATA * 4).hexdigest()
    assert (tmp_path / "f").read_bytes() == DATA * 4
