"""An exported cropper in onnxruntime, without torch: two to ten times as quick on a processor, and at once there."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as state

from pipeline.core.errors import ModelError
from pipeline.core.json_types import JsonObject
from pipeline.core.lazy_import import LazyImport
from pipeline.core.processor import thread_count
from pipeline.core.resources import file_digest
from procrop_model.inference.engine import DecodedBatch, Floats, ImageFeatures, Inputs
from procrop_model.network.config import CropperConfig
from procrop_model.network.resize import Pixels, normalised, to_input_size
from procrop_model.retrieval.database import ReferenceDatabase
from procrop_model.retrieval.pad_references import PaddedReferences

FORMAT, VERSION = "procrop-cropper-onnx", 2
PARTS = ("features", "crops", "score")
_ATTENTION: LazyImport[Callable[[Path, Inputs, int], Floats]] = LazyImport(
    "procrop_model.inference.torch_engine:attention_of"
)
_LOAD_ERRORS = (state.Fail, state.InvalidGraph, state.InvalidProtobuf, state.NoSuchFile, state.NotImplemented)


class OnnxEngine:
    """An ``Engine`` of three graphs. It reads no captions."""

    def __init__(
        self, graphs: Mapping[str, Path | bytes], config: CropperConfig, explained_by: Path | None = None
    ) -> None:
        """Raises ModelError for a graph that is damaged.

        Args:
            graphs: each of PARTS, as a file or its content.
            config: sizes of the network.
            explained_by: model folder with the same weights, which torch loads when a crop is to be explained; None: the
                engine has no attention.
        """
        options = ort.SessionOptions()
        options.intra_op_num_threads = thread_count()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.config = config
        self.parameters = 0
        self._explained_by = explained_by
        try:
            self._sessions = {
                name: ort.InferenceSession(
                    str(graph) if isinstance(graph, Path) else graph, options, providers=["CPUExecutionProvider"]
                )
                for name, graph in graphs.items()
            }
        except _LOAD_ERRORS as error:
            raise ModelError(f"the graphs of the cropper do not load, export it anew: {error}") from error

    def features(self, images: Sequence[Pixels]) -> ImageFeatures:
        """As ``Engine.features``."""
        pixels = np.stack([normalised(to_input_size(image, self.config), self.config) for image in images])
        grid, vectors, *own = self._run("features", images=pixels)
        return ImageFeatures(vectors, {"grid": grid, **({"own": own[0]} if own else {})})

    def crops(self, inputs: Inputs) -> DecodedBatch:
        """As ``Engine.crops``."""
        references = _with_a_slot(inputs.references)._asdict()
        boxes, memory = self._run("crops", **inputs.features.held, aspects=inputs.aspects, **references)
        half = boxes[..., 2:] / 2
        corners = np.concatenate([boxes[..., :2] - half, boxes[..., :2] + half], -1).clip(0, 1)
        return DecodedBatch(corners, memory)

    def judge(self, decoded: DecodedBatch, boxes: Floats, aspects: Floats) -> Floats:
        """As ``Engine.judge``."""
        return self._run("score", memory=decoded.held, boxes=boxes, aspects=aspects)[0]

    def attention(self, inputs: Inputs, image: int) -> Floats:
        """As ``Engine.attention``; the graphs do not give it, so torch computes it."""
        if self._explained_by is not None:
            return _ATTENTION.load()(self._explained_by, inputs, image)
        height, width = inputs.features.held["grid"].shape[2:]
        return np.zeros((height, width, 0, 0), np.float32)

    def _run(self, part: str, **inputs: NDArray[Any]) -> list[Floats]:
        outputs: list[Floats] = self._sessions[part].run(
            None, {name: np.ascontiguousarray(value) for name, value in inputs.items()}
        )
        return outputs


def _with_a_slot(references: PaddedReferences) -> PaddedReferences:
    """The references in one slot at least, which is not there: a graph has no empty axis."""
    if references.tokens.shape[1]:
        return references
    count, _, tokens, channels = references.tokens.shape
    empty = np.zeros((count, 1, tokens, channels), np.float32)
    return PaddedReferences(empty, np.zeros((count, 1), np.float32), np.zeros((count, 1), bool))


@dataclass(frozen=True)
class ExportedModel:
    """The content of an exported cropper's folder. trained: summary and settings of its training."""

    engine: OnnxEngine
    config: CropperConfig
    references: ReferenceDatabase
    trained: JsonObject


def is_exported(folder: Path) -> bool:
    """Whether a folder holds an exported cropper."""
    try:
        about = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(about, dict) and about.get("format") == FORMAT


def load_exported(folder: Path, device: str = "cpu") -> ExportedModel:
    """An exported cropper. Raises ModelError when it is of another version or damaged, and for other devices than the processor."""
    about: dict[str, Any] = json.loads((folder / "config.json").read_text("utf-8"))
    if str(device) != "cpu":
        raise ModelError(f"an exported cropper runs on the processor here, not on '{device}': give --device cpu")
    if about.get("version") != VERSION:
        raise ModelError(f"{folder} was exported as version {about.get('version')}, this code reads {VERSION}")
    config = CropperConfig.from_json(about["cropper"])
    graphs = {name: folder / f"{name}.onnx" for name in PARTS}
    for name, path in graphs.items():
        if not path.is_file() or file_digest(str(path)) != about["graphs"][name]["digest"]:
            raise ModelError(f"{path} is missing or damaged: export the cropper anew")
    references = ReferenceDatabase.load(folder / "references", config.encoder or None)
    return ExportedModel(OnnxEngine(graphs, config), config, references, about.get("trained", {}))
