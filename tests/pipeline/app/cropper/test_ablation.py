"""``eval --ablate`` on the tiny dataset: every part's rows, paired differences, nothing trained twice."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.app.cropper.ablation import PARTS, AblationTraining, ablate, parts_of
from pipeline.core.errors import UsageError
from procrop_model import Cropper
from procrop_model.evaluation.evaluate_run import evaluate
from stages.training.cropper_settings import TrainSettings


@pytest.mark.long
def test_every_part_has_its_rows_and_nothing_is_trained_twice(workplace: Path, tmp_path: Path) -> None:
    work = shutil.copytree(workplace, tmp_path / "work")
    plan = SimpleNamespace(work_shards=1)
    run = SimpleNamespace(store=SimpleNamespace(url=str(work)), plan=plan, receipts=lambda stage: [stage])
    session: Any = SimpleNamespace(recipe=SimpleNamespace(train=TrainSettings(batch=4, k=2, scored_windows=0)), run=run)
    measured = []

    def measure(folder: Path, k: int | None) -> dict[str, Any]:
        measured.append((folder, k))
        return evaluate(Cropper.load(folder), work / "dataset", "test", k=k)

    training = AblationTraining(session, epochs=1, device="cpu", quiet=True)
    ablate(training, work, ["refinement"], measure)
    folder = work / "models" / "ablations" / "the-recipe-s-1" / "cropper"
    made = {path: path.stat().st_mtime_ns for path in work.rglob("finished.json")}
    result = ablate(training, folder, list(PARTS), measure)
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
    assert len(set(measured[2:])) == len(measured[2:])  # measured once in a command, whatever parts share it


def test_an_unknown_part_is_named() -> None:
    assert parts_of("k, text") == ["k", "text"]
    with pytest.raises(UsageError, match="colour: the parts are retrieval, k, fusion"):
        parts_of("k,colour")
