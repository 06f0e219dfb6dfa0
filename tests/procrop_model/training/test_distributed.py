"""Two processes train as one does: the same losses and weights, also when a run goes on with another number of them."""

import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from pipeline.core.errors import InterruptedRunError
from procrop_model.network.config import CropperConfig
from procrop_model.training.batches import BatchConfig
from procrop_model.training.train import TrainConfig, train

pytestmark = pytest.mark.long  # three trainings, two of them by two processes

ROOT = Path(__file__).resolve().parents[3]
SIZES = CropperConfig(
    input_side=64, dim=32, heads=2, encoder_layers=1, decoder_layers=2, queries=5, feedforward=32, roi_cells=3, k=2,
    dropout=0.0,
)  # fmt: skip
# Six canvases in batches of five: of the last batch, the second process has but a copy. ``fit``: canvases of unlike sizes.
CONFIG = TrainConfig(
    epochs=3, patience=0, learning_rate=1e-4, batch=BatchConfig(size=5, views=2, roi=4), checkpoint_seconds=1e9, precision="fp32",
    model=replace(SIZES, input_side=96, input_mode="fit"),
)  # fmt: skip
STOP = 3  # in the middle of the second epoch
CHILD = """
import sys
from pathlib import Path
from tests.procrop_model.training.test_distributed import several
several(*map(Path, sys.argv[1:]))
"""


def follow(work: Path, out: Path, *, stopped: bool = False, by: bool = True) -> list[dict[str, float]]:
    """Losses of every step of a run to its end, or to a SIGTERM after step ``STOP`` to the process that is told so (``by``)."""
    steps: list[dict[str, float]] = []

    def progress(done: int, total: int, losses: dict[str, float]) -> None:
        steps.append(losses)
        if stopped and by and done == STOP:
            os.kill(os.getpid(), signal.SIGTERM)

    try:
        train(CONFIG, work / "dataset", retrieve_dir=work / "retrieve", out_dir=out, progress=progress)
    except InterruptedRunError:
        assert stopped
    return steps


def several(work: Path, home: Path) -> None:
    """What each of the two processes does: a whole run, one that is stopped, and one gone on with."""
    from procrop_model.training.distributed import end

    torch.set_num_threads(1)
    last = os.environ["RANK"] == "1"
    found = {
        "whole": follow(work, home / "whole-2"),
        "stopped": follow(work, home / "from-2", stopped=True, by=last),
        "gone on": follow(work, home / "from-1"),
    }
    (home / f"losses-{os.environ['RANK']}.json").write_text(json.dumps(found), "utf-8")
    end()


@pytest.fixture(scope="module")
def home(workplace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the runs of two processes, one of them stopped, and of one alone, and one that each began for the other."""
    home = tmp_path_factory.mktemp("processes")
    (home / "alone.json").write_text(json.dumps(follow(workplace, home / "whole-1")), "utf-8")
    follow(workplace, home / "from-1", stopped=True)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    command = [sys.executable, "-c", CHILD, str(workplace), str(home)]
    children = [subprocess.Popen(command, env=environment(rank, port), cwd=ROOT) for rank in range(2)]
    try:
        assert [child.wait(timeout=300) for child in children] == [0, 0]
    finally:
        for child in children:
            child.kill()
    (home / "from-2-after.json").write_text(json.dumps(follow(workplace, home / "from-2")), "utf-8")
    return home


def environment(rank: int, port: int) -> dict[str, str]:
    """As ``torchrun --nproc-per-node 2`` sets it."""
    told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "MASTER_PORT": port}
    fixed = {"MASTER_ADDR": "127.0.0.1", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return {**os.environ, **fixed, **{name: str(value) for name, value in told.items()}}


def losses(home: Path, rank: int) -> dict[str, list[dict[str, float]]]:
    told: dict[str, list[dict[str, float]]] = json.loads((home / f"losses-{rank}.json").read_text())
    return told


def alone(home: Path) -> list[dict[str, float]]:
    told: list[dict[str, float]] = json.loads((home / "alone.json").read_text())
    return told


def assert_near(found: list[dict[str, float]], expected: list[dict[str, float]]) -> None:
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert a == pytest.approx(b, rel=1e-3)


def test_two_processes_have_the_losses_of_one(home: Path) -> None:
    both = [losses(home, rank)["whole"] for rank in range(2)]
    assert both[0] == both[1]
    assert both[0][0] == pytest.approx(alone(home)[0], rel=1e-5)
    assert_near(both[0], alone(home))


@pytest.mark.parametrize("name", ["whole-2", "from-1", "from-2"])
def test_weights_history_and_choice_of_epoch_are_those_of_one(home: Path, name: str) -> None:
    first, second = (load_file(str(home / n / "cropper" / "model.safetensors")) for n in ("whole-1", name))
    assert max(float((first[key] - second[key]).abs().max()) for key in first) < 5e-4
    rows: Any = [json.loads((home / n / "history.json").read_text()) for n in ("whole-1", name)]
    for a, b in zip(*rows, strict=True):
        assert a == pytest.approx(b, rel=1e-3, abs=1e-4)
    ends = [json.loads((home / n / "finished.json").read_text()) for n in ("whole-1", name)]
    assert ends[0]["best_epoch"] == ends[1]["best_epoch"]


def test_a_signal_to_one_stops_both_at_the_same_step(home: Path) -> None:
    for rank in range(2):
        assert_near(losses(home, rank)["stopped"], alone(home)[:STOP])


def test_a_run_goes_on_with_more_or_fewer_processes(home: Path) -> None:
    after: list[dict[str, float]] = json.loads((home / "from-2-after.json").read_text())
    assert_near(after, alone(home)[STOP:])
    assert_near(losses(home, 0)["gone on"], alone(home)[STOP:])
