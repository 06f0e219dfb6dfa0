"""Croppers whose references were made with another encoder than the bundled one."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.core.errors import ModelError
from pipeline.core.resources import bundled
from procrop_model import Cropper
from procrop_model.model_folder.build_network import build_network
from procrop_model.model_folder.save_load import learned_state, save_model
from procrop_model.network.config import CropperConfig
from procrop_model.retrieval.database import ReferenceDatabase
from procrop_model.retrieval.entries import Reference
from procrop_model.retrieval.writer import ReferenceWriter
from procrop_model.training.train import _fitting


@dataclass
class Seen:
    vector: np.ndarray


class MeanColour:
    """A small encoder: the mean colour, told apart by its digest."""

    def __init__(self, digest: str = "colours-1") -> None:
        self.digest = digest
        self.asked = 0

    def encode(self, images: list[np.ndarray]) -> list[Seen]:
        self.asked += len(images)
        return [Seen(image.reshape(-1, 3).mean(0) / 255 + 0.01) for image in images]


def folder_of(home: Path, tiny: CropperConfig, count: int = 4) -> Path:
    rng = np.random.default_rng(0)
    writer = ReferenceWriter(
        home / "made", "colours-1", encoder_settings={"kind": "dinov2", "model": "some/checkpoint"}
    )
    if count:
        entries = [Reference(f"k{i}", f"k{i}", "", f"photo {i}", "a", "CC0-1.0", "s") for i in range(count)]
        writer.add(rng.random((count, 3)), rng.normal(size=(count, 4, 7)), entries)
    writer.close()
    database = ReferenceDatabase.load(home / "made")
    config = replace(tiny, encoder="colours-1", reference_dim=7)
    torch.manual_seed(0)
    network = build_network(config)
    save_model(home / "model", learned_state(network, config), config=config, references=database, trained={})
    return home / "model"


def test_any_object_that_encodes_will_do(tmp_path: Path, tiny: CropperConfig) -> None:
    encoder = MeanColour()
    cropper = Cropper.load(folder_of(tmp_path, tiny), encoder=encoder)
    crops = cropper(bundled("assets") / "photos" / "coffee.jpg", k=3)
    assert encoder.asked == 1
    assert len(crops[0].references) == 3
    assert cropper.database.metadata.encoder_settings["model"] == "some/checkpoint"


def test_a_missing_or_another_encoder_says_what_to_give(tmp_path: Path, tiny: CropperConfig) -> None:
    folder = folder_of(tmp_path, tiny)
    with pytest.raises(ModelError, match=r"'colours-1' \(dinov2 some/checkpoint\).*--encoder-checkpoint"):
        Cropper.load(folder)
    with pytest.raises(ModelError, match="the one given has digest 'colours-2'"):
        Cropper.load(folder, encoder=MeanColour("colours-2"))


def test_training_takes_references_of_any_encoder(tmp_path: Path, tiny: CropperConfig) -> None:
    folder_of(tmp_path, tiny)

    class Canvases:
        def labels(self) -> list[Seen]:
            return [type("Sample", (), {"width": 60, "height": 40})()]

    sizes = _fitting(tiny, ReferenceDatabase.load(tmp_path / "made"), Canvases())  # type: ignore[arg-type]
    assert (sizes.encoder, sizes.reference_dim, sizes.input_side) == ("colours-1", 7, tiny.input_side)


def test_an_empty_database_guides_nobody(tmp_path: Path, workplace: Path, tiny: CropperConfig) -> None:
    digest = ReferenceDatabase.load(workplace / "retrieve" / "references").encoder
    writer = ReferenceWriter(tmp_path / "made", digest)
    writer.add(np.zeros((0, 320)), np.zeros((0, 4, 320)), [])
    writer.close()
    config = replace(tiny, encoder=digest)
    torch.manual_seed(0)
    network = build_network(config)
    database = ReferenceDatabase.load(tmp_path / "made")
    save_model(tmp_path / "model", learned_state(network, config), config=config, references=database, trained={})
    crops = Cropper.load(tmp_path / "model")(bundled("assets") / "photos" / "coffee.jpg")
    assert crops[0].references == []
    assert crops[0].explain().as_json()["references"] == []
