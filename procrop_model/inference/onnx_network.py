"""An exported cropper in onnxruntime, in the network's place: two to ten times as quick on a processor."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime as ort
import torch
from onnxruntime.capi import onnxruntime_pybind11_state as state
from torch import Tensor

from pipeline.core.errors import ModelError
from pipeline.core.resources import file_digest
from procrop_model.inference.onnx_export import FORMAT, VERSION
from procrop_model.model_folder.save_load import SavedModel
from procrop_model.network.backbone import Features
from procrop_model.network.config import CropperConfig
from procrop_model.network.crop_network import CropNetwork, Output
from procrop_model.network.fusion import References
from procrop_model.retrieval.database import ReferenceDatabase

PARTS = ("features", "crops", "score")
_LOAD_ERRORS = (state.Fail, state.InvalidGraph, state.InvalidProtobuf, state.NoSuchFile, state.NotImplemented)


class OnnxNetwork:
    """What ``Predictor`` needs of a ``CropNetwork``, of three graphs. It has no attention to explain crops with."""

    def __init__(self, folder: Path) -> None:
        """Raises ModelError for a graph that is missing or damaged."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        try:
            self._sessions = {
                name: ort.InferenceSession(str(folder / f"{name}.onnx"), options, providers=["CPUExecutionProvider"])
                for name in PARTS
            }
        except _LOAD_ERRORS as error:
            raise ModelError(f"a graph of {folder} does not load, export the cropper anew: {error}") from error

    def eval(self) -> "OnnxNetwork":
        """Itself: graphs know nothing of training."""
        return self

    def to(self, device: str) -> "OnnxNetwork":
        """Itself; raises ModelError for anything but the processor."""
        if str(device) != "cpu":
            raise ModelError(f"an exported cropper runs on the processor here, not on '{device}': give --device cpu")
        return self

    def extract(self, images: Sequence[Tensor]) -> Features:
        """As ``CropNetwork.extract``, of images [3, S, S]."""
        grid, vector, *own = self._run("features", images=torch.stack(list(images)))
        return Features(grid, torch.ones(len(grid), *grid.shape[2:], dtype=torch.bool), vector, *own)

    def __call__(self, features: Features, aspects: Tensor, references: References, text: None = None) -> Output:
        """As ``CropNetwork.forward``, with the last layer's boxes alone; croppers that read captions do not export."""
        tokens, similarity, present = references.tokens, references.similarity, references.present
        if tokens.shape[1] == 0:  # a graph has no empty axis: one slot that is not there
            tokens = tokens.new_zeros(len(aspects), 1, *tokens.shape[2:])
            similarity, present = torch.zeros(len(aspects), 1), torch.zeros(len(aspects), 1, dtype=torch.bool)
        fed = {"grid": features.grid, "aspects": aspects, "tokens": tokens.float(), "similarity": similarity}
        if features.own is not None:
            fed["own"] = features.own
        boxes, memory = self._run("crops", **fed, present=present)
        nothing = torch.zeros(0)
        return Output(boxes[None], nothing, nothing, nothing, Features(memory, features.valid, features.pooled))

    def score(self, output: Output, boxes: Tensor, aspects: Tensor) -> Tensor:
        """As ``CropNetwork.score``."""
        return self.judge(output, boxes, aspects)[..., 0]

    def judge(self, output: Output, boxes: Tensor, aspects: Tensor) -> Tensor:
        """As ``CropNetwork.judge``."""
        return self._run("score", memory=output.memory.grid, boxes=boxes, aspects=aspects)[0]

    def _run(self, part: str, **inputs: Tensor) -> list[Tensor]:
        fed = {name: np.ascontiguousarray(value.numpy()) for name, value in inputs.items()}
        return [torch.from_numpy(output) for output in self._sessions[part].run(None, fed)]


def is_exported(folder: Path) -> bool:
    """Whether a folder holds an exported cropper."""
    try:
        about = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(about, dict) and about.get("format") == FORMAT


def load_exported(folder: Path) -> SavedModel:
    """An exported cropper in the place of a saved one. Raises ModelError when it is of another version or damaged."""
    about: dict[str, Any] = json.loads((folder / "config.json").read_text("utf-8"))
    if about.get("version") != VERSION:
        raise ModelError(f"{folder} was exported as version {about.get('version')}, this code reads {VERSION}")
    config = CropperConfig.from_json(about["cropper"])
    for name in PARTS:
        path = folder / f"{name}.onnx"
        if not path.is_file() or file_digest(str(path)) != about["graphs"][name]["digest"]:
            raise ModelError(f"{path} is missing or damaged: export the cropper anew")
    references = ReferenceDatabase.load(folder / "references", config.encoder or None)
    return SavedModel(cast(CropNetwork, OnnxNetwork(folder)), config, references, about.get("trained", {}))
