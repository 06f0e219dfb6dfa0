"""The exported graphs give what torch gives, for any batch and number of references."""

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
from procrop_model.inference.onnx_engine import is_exported
from procrop_model.inference.onnx_export import WholeGraph, export_cropper
from procrop_model.model_folder.build_network import build_network
from procrop_model.model_folder.save_load import SavedModel
from procrop_model.network.config import CropperConfig
from procrop_model.retrieval.database import ReferenceDatabase

pytest.importorskip("onnxscript", reason="pip install 'procrop-data[export]'")
pytestmark = pytest.mark.long  # torch's exporter takes a minute a cropper


@pytest.fixture(scope="module")
def saved(tiny: CropperConfig, workplace: Path) -> SavedModel:
    database = ReferenceDatabase.load(workplace / "retrieve" / "references")
    config = replace(tiny, encoder=database.encoder, dim=16, encoder_layers=1, decoder_layers=1)
    torch.manual_seed(0)
    network = build_network(config).eval()
    torch.nn.init.normal_(network.decoder.references, std=1.0)
    return SavedModel(network, config, database, {"val_iou": 0.5})


@pytest.fixture(scope="module")
def exported(saved: SavedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    export_cropper(saved, folder)
    return folder


def test_the_whole_graph_is_the_network(saved: SavedModel, exported: Path) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(exported / "cropper.onnx"), providers=["CPUExecutionProvider"])
    for batch, k in ((1, 1), (3, 5)):
        side, count = saved.config.input_side, saved.references.tokens.shape[1]
        inputs = {
            "images": torch.randn(batch, 3, side, side), "aspects": torch.rand(batch) + 0.5,
            "tokens": torch.randn(batch, k, count, 320), "similarity": torch.rand(batch, k),
        }  # fmt: skip
        with torch.no_grad():
            wanted = WholeGraph(saved.network)(*inputs.values())
        found = session.run(None, {name: value.numpy() for name, value in inputs.items()})
        for ours, theirs in zip(found, wanted, strict=True):
            np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-4)


@pytest.mark.parametrize("k", [0, 2, 4])
def test_an_exported_cropper_crops_alike(saved: SavedModel, exported: Path, k: int) -> None:
    assert is_exported(exported)
    torch_one, onnx_one = Cropper(saved, precision="fp32"), Cropper.load(exported)
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, shape, np.uint8) for shape in ((50, 80, 3), (90, 40, 3))]
    for ours, theirs in zip(onnx_one.propose(images, k=k), torch_one.propose(images, k=k), strict=True):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, b, atol=2e-2)
    (crop,) = onnx_one(images[0], top=1, k=k)
    assert len(crop.references) == k
    assert crop.explain().as_json()["without_limits"] is None and ("is the most similar" in crop.explain().text) == (
        k > 1
    )


def test_crop_runs_an_exported_cropper_without_torch(exported: Path, tmp_path: Path) -> None:
    photo = bundled("assets") / "photos" / "coffee.jpg"
    words = ["crop", "--model", str(exported), "--out", str(tmp_path / "out"), "--aspect", "4:5", str(photo)]
    code = (
        f"import sys; sys.argv = ['procrop-data', *{words}]\nfrom pipeline.cli import main\n"
        "try: main()\nexcept SystemExit as end: assert not end.code\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
    assert list((tmp_path / "out").iterdir())


def test_damaged_exports_and_other_devices_are_refused(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="--device cpu"):
        Cropper.load(exported, device="cuda")
    cut = shutil.copytree(exported, tmp_path / "cut")
    graph = cut / "crops.onnx"
    graph.write_bytes(graph.read_bytes()[:-50])
    with pytest.raises(ModelError, match="missing or damaged"):
        Cropper.load(cut)
