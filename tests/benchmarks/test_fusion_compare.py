"""The comparison of fusions on the tiny dataset: it tells all three, remembers the backbone exactly, and is done once."""

import json
from pathlib import Path

import pytest
import torch

import procrop_model.model_folder.build_network as building
from benchmarks.fusion_compare import FUSIONS, main, remembering
from pipeline.core.errors import UsageError
from procrop_model.model_folder.build_network import build_network
from procrop_model.network.backbone import Backbone
from procrop_model.network.config import CropperConfig


def test_it_compares_three_fusions_and_does_not_train_again(
    workplace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--work", str(workplace), "--out", str(tmp_path), "--epochs", "1", "--seeds", "0", "--threads", "1"]
    main(command)
    first = capsys.readouterr().out
    told = json.loads(first.splitlines()[-1].removeprefix("RESULT "))
    assert told["bench"] == "fusion-compare"
    assert {*FUSIONS, "identity", "constant", "saliency_box"} <= set(told["rows"])
    assert told["rows"]["attention"]["iou_minus_ours"] == [0, 0, 0]
    assert told["canvases"] == 2
    assert [line.split()[0] for line in first.splitlines()[2:5]] == list(FUSIONS)
    made = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("finished.json")}
    assert len(made) == 3
    main(command)
    assert capsys.readouterr().out == first
    assert {path: path.stat().st_mtime_ns for path in made} == made  # and nothing was measured again, either


def test_fewer_fusions_and_unknown_ones(workplace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["--work", str(workplace), "--out", str(tmp_path), "--epochs", "1", "--seeds", "0,1", "--threads", "1"]
    main([*command, "--fusions", "attention,none"])
    told = json.loads(capsys.readouterr().out.splitlines()[-1].removeprefix("RESULT "))
    assert "none" in told["rows"] and "token_mlp" not in told["rows"] and told["seeds"] == [0, 1]
    for fusions in ("none,attention", "attention,average"):
        with pytest.raises(UsageError, match="attention first, then any of token_mlp, none"):
            main([*command, "--fusions", fusions])


def test_the_remembered_maps_are_the_backbones_own(tiny: CropperConfig) -> None:
    picture = torch.randn(3, 64, 64, generator=torch.Generator().manual_seed(0))
    plain = build_network(tiny).extractor.levels([picture])[0]
    memory: dict[bytes, list[torch.Tensor]] = {}
    with remembering(memory):
        extractor = build_network(tiny).extractor
    first, again = extractor.levels([picture])[0], extractor.levels([picture])[0]
    assert len(memory) == 1
    assert all(torch.equal(a, b) and torch.equal(a, c) for a, b, c in zip(plain, first, again, strict=True))
    extractor.levels([picture + 1])
    assert len(memory) == 2
    assert type(building.load_backbone("lite0", False)) is Backbone
