import sys
from dataclasses import dataclass

import pytest

from pipeline.core.errors import UsageError
from pipeline.core.stage import Stage
from pipeline.planning.recipe_files import parse
from stages.plugin_stages import credit_of
from stages.recipe import Recipe, stages_of

HERE = "stages_of_this_test"


@dataclass(frozen=True)
class Row:
    key: str


class Count(Stage):
    name, upstream, record, licence = "count", ("outpaint",), Row, "MIT"

    def __init__(self, name: str = "count", upstream: tuple[str, ...] = ("outpaint",)) -> None:
        self.name, self.upstream = name, tuple(upstream)

    def settings(self):
        return {}

    def tasks(self, shard):
        return []

    def run(self, tasks, shard):
        return []


class Unnamed(Count):
    def __init__(self) -> None:
        self.name = "Not a Name"


@pytest.fixture(autouse=True)
def module(monkeypatch):
    monkeypatch.setitem(sys.modules, HERE, sys.modules[__name__])


def recipe(*stages):
    return parse(Recipe, {"name": "test", "stages": list(stages)}, "x")


def test_a_stage_runs_after_all_that_it_reads():
    stages = stages_of(recipe({"kind": f"{HERE}:Count", "upstream": ["dedup", "caption"]}))
    names = [stage.name for stage in stages]
    assert names.index("count") == names.index("caption") + 1
    count = stages[names.index("count")]
    assert count.digests()["plug-in"].startswith(HERE) and stages[0].digests() == stages[0].models()
    assert credit_of(recipe(f"{HERE}:Count").stages[0]) == ("stage count", f"plug-in {HERE}", "MIT")


def test_a_stage_before_another_is_read_by_it():
    stages = {stage.name: stage for stage in stages_of(recipe({"kind": f"{HERE}:Count", "before": "propose"}))}
    propose = stages["propose"]
    assert propose.hidden_by == ("count",) and propose.upstream[-1] == "count"
    assert propose.columns_read("count") == {"key"}
    assert all(stage.hidden_by == () for stage in stages_of(recipe()))


def test_a_recipe_keeps_its_stages():
    chosen = recipe({"kind": f"{HERE}:Count", "before": "filter"})
    assert chosen.model_dump(mode="json")["stages"] == [
        {"kind": f"{HERE}:Count", "before": "filter", "name": "count", "upstream": ["outpaint"]}
    ]
    again = Recipe.model_validate(chosen.model_dump(mode="json"))
    assert again.model_dump(mode="json") == chosen.model_dump(mode="json")


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([f"{HERE}:Row"], r"stages.0: plug-in '.*': key is missing"),
        ([{"kind": f"{HERE}:Row", "key": "k"}], r"is no Stage: it must be a subclass"),
        ([f"{HERE}:Unnamed"], r"lacks a name of the characters a-z0-9_-"),
        ([{"kind": f"{HERE}:Count", "befor": "filter"}], r"unknown key 'befor' \(did you mean 'before'\?\)"),
        ([{"kind": f"{HERE}:Count", "before": "ingest"}], r"before 'ingest': give caption, outpaint, propose, filter"),
        ([{"kind": f"{HERE}:Count", "before": "caption"}], r"cannot run before caption: it reads a later stage"),
        ([{"kind": f"{HERE}:Count", "upstream": ["paint"]}], r"reads 'paint': want names of stages, among ingest"),
        ([{"kind": f"{HERE}:Count", "upstream": []}], r"reads '': want names of stages"),
        ([f"{HERE}:Count", f"{HERE}:Count"], r"has the name of another stage, 'count'"),
        ([{"kind": f"{HERE}:Count", "name": "refine"}], r"has the name of another stage, 'refine'"),
        (["count"], r"stages.0: 'count' is no plug-in: give package.module:Name, or an entry point"),
    ],
)  # fmt: skip
def test_a_bad_stage_is_one_line(stages, message):
    with pytest.raises(UsageError, match=message) as caught:
        stages_of(recipe(*stages))
    assert "\n" not in str(caught.value)
