"""A saved model is read back exactly; folders that are missing, foreign, damaged or unfinished are refused."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pipeline.core.errors import ModelError
from procrop_model.model_folder.build_network import build_network
from procrop_model.model_folder.save_load import learned_state, load_model, save_model
from procrop_model.network.config import CropperConfig
from procrop_model.retrieval.database import ReferenceDatabase


@pytest.fixture(scope="module")
def references(workplace: Path) -> ReferenceDatabase:
    return ReferenceDatabase.load(workplace / "retrieve" / "references")


@pytest.fixture
def folder(tiny: CropperConfig, references: ReferenceDatabase, tmp_path: Path) -> Path:
    config = replace(tiny, encoder=references.encoder)
    torch.manual_seed(3)
    state = learned_state(build_network(config), config)
    save_model(tmp_path / "cropper", state, config=config, references=references, trained={"epochs": 2})
    return tmp_path / "cropper"


def test_round_trip(folder: Path, tiny: CropperConfig, references: ReferenceDatabase) -> None:
    saved = load_model(folder)
    config = replace(tiny, encoder=references.encoder)
    torch.manual_seed(3)
    expected = build_network(config).state_dict()
    assert saved.config == config
    assert saved.trained == {"epochs": 2}
    assert not saved.network.training
    assert all(torch.equal(value, expected[name]) for name, value in saved.network.state_dict().items())
    assert saved.references.entries == references.entries


def test_a_frozen_bundled_backbone_is_not_saved(folder: Path) -> None:
    assert not any(name.startswith("extractor.backbone.") for name in load_file(folder / "model.safetensors"))


def change(folder: Path, **fields: object) -> None:
    about = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(about | fields))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"format": "other"}, "not the config of a cropper"),
        ({"version": 99}, "has version 99"),
        ({"lite0": "0000"}, "needs Lite0 weights 0000"),
        ({"cropper": {"dimension": 3}}, "unknown field 'dimension'"),
    ],
)
def test_a_foreign_config_is_refused(folder: Path, fields: dict[str, object], message: str) -> None:
    change(folder, **fields)
    with pytest.raises(ModelError, match=message):
        load_model(folder)


def test_damaged_weights_are_refused(folder: Path) -> None:
    path = folder / "model.safetensors"
    state = load_file(path)
    save_file({name: value for name, value in state.items() if name != "decoder.tags"}, path)
    with pytest.raises(ModelError, match=r"1 tensors differ, first decoder\.tags"):
        load_model(folder)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ModelError, match="missing or truncated"):
        load_model(folder)


def test_an_unfinished_folder_is_refused(folder: Path) -> None:
    (folder / "config.json").unlink()
    with pytest.raises(ModelError, match=r"config\.json is missing"):
        load_model(folder)
