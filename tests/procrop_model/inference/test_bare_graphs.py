"""The bundled graphs give what torch gives, with the weights of any cropper of these sizes."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.core.errors import ModelError
from pipeline.core.resources import bundled
from procrop_model import Cropper
from procrop_model.inference.bare_graphs import load_with_graphs
from procrop_model.inference.engine import Inputs
from procrop_model.inference.onnx_engine import OnnxEngine
from procrop_model.inference.torch_engine import TorchEngine, torch_engine
from procrop_model.model_folder.save_load import learned_state, load_model, save_model
from procrop_model.retrieval.pad_references import PaddedReferences

BUNDLED = bundled("assets") / "models" / "cropper"
PHOTO = bundled("assets") / "photos" / "coffee.jpg"


@pytest.fixture(scope="module")
def retrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cropper of the bundled one's sizes with other weights, each of them moved."""
    saved, folder = load_model(BUNDLED), tmp_path_factory.mktemp("models") / "retrained"
    draw = torch.Generator().manual_seed(0)
    state = {
        name: value + 0.02 * torch.randn(value.shape, generator=draw)
        for name, value in learned_state(saved.network, saved.config).items()
    }
    save_model(folder, state, config=saved.config, references=saved.references, trained={})
    return folder


def test_another_cropper_is_what_torch_makes_of_its_weights(retrained: Path) -> None:
    exported = load_with_graphs(retrained)
    assert exported is not None
    engines: list[OnnxEngine | TorchEngine] = [exported.engine, torch_engine(load_model(retrained), "cpu", "fp32")]
    assert engines[0].parameters == engines[1].parameters > 4e6
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, shape, np.uint8) for shape in ((50, 80, 3), (90, 40, 3))]
    tokens, boxes = rng.normal(size=(2, 3, 49, 320)), np.tile([[0.1, 0.2, 0.7, 0.9], [0, 0, 1, 1]], (2, 1, 1))
    present = np.array([[True, True, False], [True, True, True]])
    references = PaddedReferences(tokens.astype(np.float32), rng.random((2, 3), np.float32), present)
    found = []
    for engine in engines:
        features = engine.features(images)
        inputs = Inputs(features, np.array([1.6, 0.44], np.float32), references)
        decoded = engine.crops(inputs)
        judged = engine.judge(decoded, boxes.astype(np.float32), inputs.aspects)
        found.append((features.vectors, decoded.boxes, judged, engine.attention(inputs, 1)))
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=2e-4)


def test_the_bundled_cropper_gives_the_same_crops_without_torch() -> None:
    code = (
        "import sys; from procrop_model import Cropper\n"
        "print([crop.box_px for crop in Cropper.load(sys.argv[1])(sys.argv[2], aspect='4:5,free')])\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(BUNDLED), str(PHOTO)], capture_output=True, text=True, check=True
    )
    crops = Cropper(load_model(BUNDLED))(PHOTO, aspect="4:5,free")
    assert done.stdout.strip() == str([crop.box_px for crop in crops])


def test_croppers_of_other_sizes_or_references_have_no_graphs(retrained: Path, tmp_path: Path) -> None:
    saved = load_model(retrained)
    state = learned_state(saved.network, saved.config)
    save_model(
        tmp_path / "other", state, config=replace(saved.config, queries=21), references=saved.references, trained={}
    )
    assert load_with_graphs(tmp_path / "other") is None


def test_damaged_weights_are_refused(retrained: Path, tmp_path: Path) -> None:
    cut = shutil.copytree(retrained, tmp_path / "cut")
    weights = cut / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-50])
    with pytest.raises(ModelError, match="truncated"):
        load_with_graphs(cut)
    shutil.copy(bundled("assets") / "models" / "scorer" / "model.safetensors", weights)
    with pytest.raises(ModelError, match="do not fit"):
        load_with_graphs(cut)
