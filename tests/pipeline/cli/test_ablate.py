"""``eval --ablate`` on the tiny dataset: every part's rows, paired differences, nothing trained twice."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.cli.ablate import PARTS, ablate, wanted_parts
from pipeline.core.errors import UsageError
from procrop_model import Cropper
from procrop_model.evaluation.evaluate_run import evaluate
from stages.training.cropper_settings import TrainSettings


def test_every_part_has_its_rows_and_nothing_is_trained_twice(workplace: Path, tmp_path: Path) -> None:
    work = shutil.copytree(workplace, tmp_path / "work")
    plan = SimpleNamespace(work_shards=1)
    run = SimpleNamespace(store=SimpleNamespace(url=str(work)), plan=plan, receipts=lambda stage: [stage])
    session: Any = SimpleNamespace(recipe=SimpleNamespace(train=TrainSettings(batch=4, k=2)), run=run)
    asked = []

    def measure(folder: Path, k: int | None) -> dict[str, Any]:
        asked.append((folder, k))
        return evaluate(Cropper.load(folder), work / "dataset", "test", k=k)

    how: dict[str, Any] = {"epochs": 1, "device": "cpu", "quiet": True}
    ablate(session, work, ["refinement"], measure, **how)
    folder = work / "models" / "ablations" / "the-recipe-s-1" / "cropper"
    made = {path: path.stat().st_mtime_ns for path in work.rglob("finished.json")}
    result = ablate(session, folder, list(PARTS), measure, **how)
    rows = result["rows"]
    assert [name for name in rows if name.startswith("retrieval")] == [
        "retrieval: as it is",
        "retrieval: without references",
    ]
    assert [name for name in rows if name.startswith("k:")] == ["k: k = 2, as it is", "k: k = 1", "k: k = 5"]
    assert {"fusion: published token MLP", "text: with captions", "refinement: pseudo-labels alone"} <= set(rows)
    assert set(result["differences"]) == {name for name in rows if "as it is" not in name and "the recipe" not in name}
    assert rows["fusion: the recipe's"] == rows["refinement: the recipe's"]
    assert all(len(figure) == 3 for row in rows.values() for figure in row.values())
    assert {path: path.stat().st_mtime_ns for path in made} == made
    assert len(set(asked[2:])) == len(asked[2:])  # measured once in a command, whatever parts share it


def test_an_unknown_part_is_named() -> None:
    assert wanted_parts("k, text") == ["k", "text"]
    with pytest.raises(UsageError, match="colour: the parts are retrieval, k, fusion"):
        wanted_parts("k,colour")
