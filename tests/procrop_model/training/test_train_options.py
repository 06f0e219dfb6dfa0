"""Options of a run that change how it computes: the result stays, or changes as it is told."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from procrop_model.network.config import CropperConfig
from procrop_model.training.batches import BatchConfig
from procrop_model.training.ema_teacher import TeacherConfig
from procrop_model.training.train import TrainConfig, train

ROOT = Path(__file__).resolve().parents[3]
KILLED = """
import json, os, signal, sys, torch
from pathlib import Path
from procrop_model.training.train import TrainConfig, train
from tests.procrop_model.training.test_train_options import options
torch.set_num_threads(1)
work, out, step = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
def kill(done, total, losses):
    print(json.dumps(losses), flush=True)
    if done == step:
        os.kill(os.getpid(), signal.SIGKILL)
train(options(checkpoint_seconds=0.0), work / "dataset", retrieve_dir=work / "retrieve", out_dir=out, progress=kill)
"""


def options(**over: Any) -> TrainConfig:
    """Three steps an epoch on the tiny data, without dropout."""
    sizes = CropperConfig(
        input_side=64, dim=32, heads=2, encoder_layers=1, decoder_layers=2, queries=5, feedforward=32, roi_cells=3, k=2,
        dropout=0.0,
    )  # fmt: skip
    config = TrainConfig(
        epochs=2,
        patience=0,
        model=sizes,
        batch=BatchConfig(size=2, views=2, roi=4),
        checkpoint_seconds=1e9,
        precision="fp32",
    )
    return replace(config, **over)


def run(workplace: Path, out: Path, **over: Any) -> tuple[list[dict[str, float]], dict[str, torch.Tensor]]:
    """Losses of every step, and the weights that were saved."""
    steps: list[dict[str, float]] = []
    config = options(**over)
    args = {"retrieve_dir": workplace / "retrieve", "out_dir": out}
    train(config, workplace / "dataset", progress=lambda done, total, losses: steps.append(losses), **args)
    return steps, load_file(str(out / "cropper" / "model.safetensors"))


Plain = tuple[list[dict[str, float]], dict[str, torch.Tensor]]


@pytest.fixture(scope="module")
def plain(workplace: Path, tmp_path_factory: pytest.TempPathFactory) -> Plain:
    return run(workplace, tmp_path_factory.mktemp("plain"))


def furthest(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    return max(float((a[name] - b[name]).abs().max()) for name in a)


def test_threads_that_draw_ahead_change_nothing(workplace: Path, plain: Plain, tmp_path: Path) -> None:
    steps, weights = run(workplace, tmp_path, workers=3)
    assert steps == plain[0]
    assert furthest(weights, plain[1]) == 0


@pytest.mark.parametrize("mode", ["weak", "mixed"])
def test_an_accumulated_batch_equals_a_whole_one(workplace: Path, annotated: Path, tmp_path: Path, mode: str) -> None:
    sets = {"mode": mode, "sets": (str(annotated),)} if mode == "mixed" else {}
    shared = {**sets, "batch": BatchConfig(size=5, views=2, roi=4), "learning_rate": 1e-4}
    whole, first = run(workplace, tmp_path / "whole", **shared)
    parts, second = run(workplace, tmp_path / "parts", accumulate=2, **shared)
    for name, value in whole[0].items():
        assert parts[0][name] == pytest.approx(value, rel=1e-5), name
    for a, b in zip(whole, parts, strict=True):
        assert a["total"] == pytest.approx(b["total"], rel=2e-3)
    assert furthest(first, second) < 2e-3


def test_bf16_is_near_and_saves_fp32(workplace: Path, plain: Plain, tmp_path: Path) -> None:
    steps, weights = run(workplace, tmp_path, precision="bf16")
    assert all(value.dtype == torch.float32 for value in weights.values())
    assert steps != plain[0]
    for a, b in zip(steps, plain[0], strict=True):
        assert a["total"] == pytest.approx(b["total"], rel=0.05)


def test_auto_precision_is_recorded_as_what_it_became(workplace: Path, tmp_path: Path) -> None:
    run(workplace, tmp_path, precision="auto", epochs=1)
    recorded = json.loads((tmp_path / "cropper" / "config.json").read_text())["trained"]["settings"]["precision"]
    assert recorded == "fp32"  # a frozen backbone on a processor
    run(workplace, tmp_path, precision=recorded, epochs=1)  # the same run, so it is not refused


# The tracer of torch.compile itself looks at the gradients of what it is given.
@pytest.mark.long
@pytest.mark.filterwarnings("ignore:The .grad attribute")
def test_a_compiled_network_gives_the_same_losses(workplace: Path, plain: Plain, tmp_path: Path) -> None:
    steps, weights = run(workplace, tmp_path, compiler="eager")
    for a, b in zip(steps, plain[0], strict=True):
        assert a["total"] == pytest.approx(b["total"], rel=1e-4)
    assert weights.keys() == plain[1].keys()


def test_the_teacher_speaks_from_its_epoch_on(workplace: Path, plain: Plain, tmp_path: Path) -> None:
    steps, _ = run(workplace, tmp_path, teacher=TeacherConfig(used=True, start=0.5))
    assert steps[:3] == plain[0][:3]
    assert steps[3]["score"] != plain[0][3]["score"]
    assert steps[3]["l1"] == plain[0][3]["l1"]  # the same weights, another class loss


def test_a_step_schedule_drops(workplace: Path, tmp_path: Path) -> None:
    run(workplace, tmp_path, schedule="step", drops=(0.5,), warmup=0.0, learning_rate=1e-3)
    rates = [row["learning_rate"] for row in json.loads((tmp_path / "history.json").read_text())]
    assert rates == pytest.approx([1e-3, 1e-4])


def test_it_stops_early_when_validation_gains_nothing(workplace: Path, tmp_path: Path) -> None:
    steps, _ = run(workplace, tmp_path, epochs=9, patience=2, learning_rate=1e-12)
    assert len(steps) == 3 * 3  # the first epoch is the best, two more gain nothing


@pytest.mark.long
@pytest.mark.parametrize("taught", [False, True])
def test_a_kill_within_an_epoch_and_resuming_keep_the_losses(workplace: Path, tmp_path: Path, taught: bool) -> None:
    over: dict[str, Any] = {"teacher": TeacherConfig(used=True, start=0.5)} if taught else {}
    expected, weights = run(workplace, tmp_path / "whole", **over)
    code = KILLED.replace("checkpoint_seconds=0.0", f"checkpoint_seconds=0.0, **{over!r}")
    code = f"from procrop_model.training.ema_teacher import TeacherConfig\n{code}"
    out = tmp_path / "killed"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(workplace), str(out), "5"],
        capture_output=True,
        text=True,
        env=environment,
        cwd=ROOT,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    before = [json.loads(line) for line in done.stdout.splitlines()]
    after, again = run(workplace, out, **over)
    assert len(before) == 5
    assert before == expected[:5]
    assert after == expected[4:]  # the step at which it was killed had not been saved yet
    assert furthest(again, weights) == 0


def test_the_summary_page_tells_the_run(workplace: Path, tmp_path: Path) -> None:
    run(workplace, tmp_path)
    page = (tmp_path / "summary.html").read_text()
    finished = json.loads((tmp_path / "finished.json").read_text())
    assert finished["identity"] in page
    assert f"{finished['val_iou']:.3f}" in page
    assert "augment.mirror" in page and "data:image/png;base64," in page
    assert page.count("<tr") > 40
