"""The forecast: rates times numbers, a run's own rates before the reference; the command writes nothing."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.planning.cost_model import REFERENCE, Size, forecast, rates_of
from pipeline.runs.receipts import Receipt

PROGRAM = Path(sys.executable).parent / "procrop-data"
RECEIPT = Receipt(
    stage="outpaint", shard=0, shards=2, recipe={}, inputs={}, outputs={"outpaint/000000.tar": {"size": 3000, "sha256": ""}},
    n_in=10, n_kept=9, n_rejected={"blank": 1}, n_failed={}, seconds={"read": 1.0, "compute": 4.0},
)  # fmt: skip


def test_costs_are_rates_times_samples():
    size = Size(photos=100, canvases=400, kept=0.5)
    costs = forecast({"outpaint": 8, "build": 4}, {}, size, workers=2, price=3.0)
    painting, building = costs.costs
    assert painting.samples == 400 and building.samples == 200
    assert painting.seconds == pytest.approx(400 * REFERENCE["outpaint"][0])
    assert costs.hours == pytest.approx(costs.worker_hours / 2)
    assert costs.money == pytest.approx(costs.worker_hours * 3)
    assert costs.as_json()["files"] == 36


def test_a_runs_own_receipts_come_first():
    assert rates_of([RECEIPT, replace(RECEIPT, shard=1)]) == (0.5, 300.0)
    assert rates_of([]) is None
    costs = forecast({"outpaint": 8}, {"outpaint": (0.5, 300.0)}, Size(10, 40, 1.0), workers=1, price=0)
    assert costs.costs[0].seconds == 20 and costs.costs[0].measured


def test_twice_the_photographs_take_twice_the_time():
    stages = {name: 4 for name in REFERENCE}
    one, two = (forecast(stages, {}, Size(n, 4 * n, 0.75), workers=1, price=1) for n in (1000, 2000))
    assert two.worker_hours == pytest.approx(2 * one.worker_hours, rel=1e-3)


def test_the_command_tells_and_writes_nothing(tmp_path):
    work = tmp_path / "work"
    command = [PROGRAM, "plan", "--photos", "60500", "--variants", "4", "--workers", "8", "--price", "2", "--json"]
    done = subprocess.run([*command, "--work", work], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed["photos"] == 60500 and printed["canvases"] == 242_000 and printed["shards"] == 256
    assert printed["money"] == pytest.approx(printed["worker_hours"] * 2, rel=1e-3)
    assert {"outpainter", "scorer", "encoder"} <= set(printed["models"])
    assert not work.exists()


def test_the_bundled_photographs_are_counted_without_a_number(tmp_path):
    done = subprocess.run([PROGRAM, "plan", "--work", tmp_path / "w"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (
        "33 photographs: 22 to train x 16" in done.stdout and "418 canvases" in done.stdout and "a guess" in done.stdout
    )
