"""The plan by the clock: GPUs, single steps, requests as a real run makes them, limits."""

import json
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import ClassVar

import pytest
from typer.testing import CliRunner

from benchmarks.rehearsal import recipe_for
from benchmarks.stand_ins import make_photos, stand_ins
from pipeline.app.plans.plan_fleet import Losses, require_an_end
from pipeline.app.progress import Display
from pipeline.app.refresh_sources import refresh_sources
from pipeline.app.session import Session
from pipeline.cli.app import app
from pipeline.core.errors import UsageError
from pipeline.engine.runner import Options, run_stages
from pipeline.engine.shard_runner import Control, run_shard
from pipeline.planning.cluster_simulation import SimulatedStage
from pipeline.planning.cost_model import Cost, Size, forecast
from pipeline.planning.wall_clock import GPU, REQUESTS, Fleet, limits, requests_of, single_steps, wall_clock_forecast
from pipeline.runs.plan import Plan, freeze_plan
from pipeline.runs.run_directory import Run
from pipeline.storage.local import LocalStore
from stages.recipe import stages_with

PROGRAM = Path(sys.executable).parent / "procrop-data"
FOUND = forecast(
    {"outpaint": 100, "filter": 100}, {"outpaint": (0.4, 1000.0)}, Size(1000, 5000, 0.75), workers=4, price=1.0
)


def test_a_stage_on_gpus_takes_whole_rounds_of_shards():
    by_clock = wall_clock_forecast(FOUND, Fleet(4, 30, price=1.0, gpu_price=10.0), {"outpaint"}, {"sources": 36.0})
    painting, _, sources = by_clock.clocks
    assert (painting.on, painting.busy) == (GPU, 30)
    assert painting.hours == pytest.approx(4 * 20 / 3600)  # 100 shards of 20 s on 30: four rounds
    assert sources.hours == pytest.approx(0.01)
    assert by_clock.gpu_hours == pytest.approx(2000 / 3600)
    assert by_clock.slowest is painting
    assert by_clock.money == pytest.approx(10 * by_clock.gpu_hours + by_clock.worker_hours)
    assert wall_clock_forecast(FOUND, Fleet(4), {"outpaint"}, {}).gpu_hours == 0


def test_single_steps_grow_and_receipts_come_first():
    one, ten = single_steps(6_000, {}), single_steps(60_000, {})
    assert ten["sources"] == pytest.approx(10 * one["sources"])
    assert ten["build: prologue"] == pytest.approx(100 * one["build: prologue"])  # all pairs
    large, larger = single_steps(1_000_000, {}), single_steps(10_000_000, {})
    assert 10 < larger["build: prologue"] / large["build: prologue"] < 25  # the index
    slow = single_steps(1_000_000, {"build: prologue": (2 * one["build: prologue"], 6_000)})
    assert slow["build: prologue"] == pytest.approx(2 * large["build: prologue"])  # a machine of half the speed
    own = single_steps(2000, {"sources": (7.0, 1000), "filter: prologue": (1.0, 1000)})
    assert own["sources"] == pytest.approx(14.0) and own["filter: prologue"] == pytest.approx(2.0)


def test_limits_say_what_to_change():
    printed = limits(FOUND, Fleet(100), 100_000_000, (10, 3_000_000_000))
    assert {limit.what.split(" ", 1)[1].split(" of ")[-1] for limit in printed} >= {"reference tokens"}
    assert any("work_shards=400" in limit.change for limit in printed)
    assert limits(FOUND, Fleet(2), 1000, (10, 3_000_000)) == []


class Counting(LocalStore):
    """Counts what is asked of it, by the stage at work."""

    asked: ClassVar[Counter] = Counter()
    stage = ""

    def __getattribute__(self, name):
        if name in ("read", "read_range", "write", "create", "adopt", "copy_in", "names", "remove"):
            Counting.asked[Counting.stage] += 1
        return super().__getattribute__(name)


class Here:
    """Does shards in this process."""

    def __init__(self, run):
        self.run = run

    def map(self, stage, shards):
        return (run_shard(stage, self.run, shard, Control()) for shard in shards)


def test_a_run_makes_the_requests_that_are_foretold_and_no_more(tmp_path):
    make_photos(tmp_path / "photos", 40)
    recipe = recipe_for(tmp_path / "photos", 40, 3, 4).model_copy(update={"work_shards": 4})
    store = Counting(tmp_path / "work")
    plan = freeze_plan(store, Plan(recipe.name, recipe.seed, 4, recipe.model_dump(mode="json")))
    session = Session(recipe, Run(store, plan), stages_with(recipe, stand_ins()))
    refresh_sources(session, Display(quiet=True))
    counts = {"ingest": 40, "perceive/photos": 40, "dedup": 40, "caption": 40, "embed": 160}
    for stage in session.stages:
        Counting.stage = stage.name
        options = {"watcher": Display(quiet=True), "options": Options(), "chain": session.stages}
        run_stages([stage], session.run, Here(session.run), **options)
        printed = requests_of(Cost(stage.name, counts.get(stage.name, 120), 4, 0.0, 0, True))
        assert Counting.asked[stage.name] <= 1.25 * printed + 10, stage.name
    assert set(REQUESTS) == {stage.verb for stage in session.stages}


def test_the_command_says_what_it_assumes(tmp_path):
    command = [PROGRAM, "plan", "--photos", "10000000", "--variants", "5", "--gpus", "256", "--json", "--simulate"]
    command += ["--work", tmp_path / "none", "--gpu-price", "2"]
    plain = subprocess.run([*command, "--config", "sdxl"], capture_output=True, text=True)
    assert plain.returncode == 0, plain.stderr
    printed = json.loads(plain.stdout)
    assert any("no rate of outpaint on a GPU is known" in text for text in printed["assumed"])
    assert printed["gpu_hours"] > 0 and printed["requests"] > 10**8 and printed["limits"]
    assert [fleet["workers"] for fleet in printed["simulated"]] == [1, 10, 100, 256, 1000]
    rated = subprocess.run([*command, "--config", "sdxl", "--rate", "outpaint=2.5"], capture_output=True, text=True)
    assert not any("no rate of outpaint" in text for text in json.loads(rated.stdout)["assumed"])
    wrong = subprocess.run([*command, "--rate", "paint=2"], capture_output=True, text=True)
    assert wrong.returncode == 2 and "STAGE=SAMPLES_A_SECOND" in wrong.stderr
    assert not (tmp_path / "none").exists()


def test_a_plan_has_units_and_requests_only_of_a_remote_store(tmp_path):
    def printed(work):
        words = ["plan", "--config", "demo", "--work", work, "--price", "0.5", "--currency", "EUR"]
        return CliRunner(env={"COLUMNS": "200"}).invoke(app, words).stdout

    remote, local = printed("memory://plan-units/work"), printed(str(tmp_path))
    assert "requests to the store" in remote and "request" not in local
    assert re.search(r"of work, .* on \d+ workers?, [\d.]+ MB in \d+ files, [\d.]+ EUR at 0.50 EUR an hour", local)
    assert re.search(r"by the clock .* EUR in all\n", local) and not re.search(r"\d{5}", local.split("models:")[0])


def plan_json(*words: str) -> dict:
    done = subprocess.run([PROGRAM, "plan", "--photos", "10000000", "--json", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_plan_chooses_work_shards_and_ends(tmp_path):
    started = time.monotonic()
    printed = plan_json("--simulate", "--gpus", "256", "--work", str(tmp_path / "none"))
    assert printed["work_shards"] == 10_000 and len(printed["simulated"]) == 5
    assert any("work_shards=10000, not the recipe's 16" in found["text"] for found in printed["findings"])
    assert time.monotonic() - started < 60  # beside other tests; alone 3 s


def test_a_shard_that_is_never_done_is_refused():
    steps = [SimulatedStage("perceive", 16, 100 * 3600.0)]
    with pytest.raises(UsageError, match=r"a shard of perceive takes 100 h.*give work_shards=320"):
        require_an_end(steps, Losses(lost=0.05, away=300, start=60), 16)
    require_an_end([SimulatedStage("outpaint", 16, 100 * 3600.0, batch=5.0)], Losses(0.05, 300, 60), 16)
