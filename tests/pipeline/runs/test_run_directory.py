"""Rows of finished shards as objects of a dataclass, whose fields choose the columns that are read."""

from dataclasses import dataclass

import pytest

from pipeline.core.errors import DamagedDataError
from pipeline.core.records import Canvas, Photo, Refined, Source
from stages.refine import RefineRound, RefineSettings
from tests.canned import canned_run
from tests.fakes import FakeScorer


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
    return run.shard(RefineRound(1, RefineSettings(), FakeScorer()), shard)


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
