"""Rows of finished shards as objects of a dataclass, whose fields choose the columns that are read."""

import hashlib
import shutil
from dataclasses import dataclass

import pytest

from pipeline.core.errors import DamagedDataError
from pipeline.core.records import Canvas, Photo, Refined, Source
from pipeline.core.stage import Shard, Task
from pipeline.runs.run_directory import Run
from pipeline.storage.local import LocalStore
from stages.build import Build, BuildSettings, _Placed
from stages.refine import RefineRound, RefineSettings
from tests.canned import canned_run
from tests.fakes import FakeEncoder, FakeScorer


@dataclass(frozen=True)
class Place:
    key: str
    photo: str
    image_offset: int


@dataclass(frozen=True)
class Unknown:
    key: str
    colour: str


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return canned_run(tmp_path_factory.mktemp("run"))[0]


def view(run, shard=0):
    stage = RefineRound(1, RefineSettings(), FakeScorer())
    stage.reads = {}  # everything
    return run.shard(stage, shard)


@pytest.mark.parametrize(("stage", "record"), [("ingest", Photo), ("outpaint", Canvas), ("refine/round-01", Refined)])
def test_typed_rows_are_those_of_the_table(run, stage, record):
    kept = [row for row in run.rows(stage, 0) if row["status"] == "kept"]
    assert kept and [type(row) for row in view(run).rows(stage, record)] == [record] * len(kept)
    for rows in (view(run).rows(stage, record), run.tables().rows(stage, 0, record)):
        assert [vars(row) for row in rows] == [
            {name: row[name] for name in record.__dataclass_fields__} for row in kept
        ]


def test_sources_are_typed_rows_by_key(run):
    sources = view(run).rows("sources", Source)
    names = list(Source.__dataclass_fields__)
    assert sources and [vars(source) for source in sources] == [{n: row[n] for n in names} for row in run.sources(0)]


def test_a_record_with_fewer_fields_and_an_image_place(run):
    expected = [(row["key"], row["photo"], row["image_offset"]) for row in run.rows("outpaint", 0) if row["photo"]]
    places = view(run).rows("outpaint", Place)
    assert [(place.key, place.photo, place.image_offset) for place in places] == expected
    assert run.tables().rows("outpaint", 0, Place) == places


def test_a_column_that_a_table_lacks_is_one_line(run):
    with pytest.raises(DamagedDataError, match="a table of outpaint lacks a column"):
        view(run).rows("outpaint", Unknown)


def test_a_round_has_a_verb_and_a_number():
    stage = RefineRound(2, RefineSettings(), FakeScorer())
    assert (stage.name, stage.verb, stage.round) == ("refine/round-02", "refine", 2)


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(bytes(data))


def test_a_flipped_byte_is_found_when_it_is_read_on(run, tmp_path):
    """A photo or canvas, and a table, are checked against the hash of when they were written: nothing is made from others."""
    shutil.copytree(run.store.local_root, tmp_path / "run")
    mine = Run(LocalStore(tmp_path / "run"), run.plan)
    row = next(row for row in mine.rows("outpaint", 0) if row["image_size"])
    view(mine).image("outpaint", row["key"])
    flip(
        tmp_path / "run" / mine.output_of(mine.receipt("outpaint", 0), ".tar"),
        row["image_offset"] + row["image_size"] // 2,
    )
    with pytest.raises(DamagedDataError, match=f"'{row['key']}' of 'outpaint/.*verify --repair"):
        view(mine).image("outpaint", row["key"])
    flip(tmp_path / "run" / mine.output_of(mine.receipt("ingest", 0), ".parquet"), 40)
    for read in (lambda: mine.rows("ingest", 0), lambda: view(mine).rows("ingest", Photo)):
        with pytest.raises(DamagedDataError, match=r"table 'ingest/.*not what was recorded"):
            read()


def test_build_takes_no_canvas_with_a_flipped_byte():
    item = _Placed("k", "{}", "", "", "outpaint/000000.tar", 0, 4, hashlib.sha256(b"good").hexdigest())
    shard = Shard(0, 1, 0, None, None, lambda path, offset, size: b"gooe", None)
    with pytest.raises(DamagedDataError, match="'k' of 'outpaint/000000"):
        Build(BuildSettings(), FakeScorer(), FakeEncoder()).run([Task("k", item)], shard)
