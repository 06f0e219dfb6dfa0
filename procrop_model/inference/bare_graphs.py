"""Graphs without weights: a cropper of the bundled sizes runs in onnxruntime with the weights of its own folder.

They are the export of such a cropper without what weights give (``benchmarks/cropper_graphs.py``), some hundred kilobytes. A model
folder then needs no second copy of its weights, and ``crop`` does not wait for torch.
"""

import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from pipeline.core.errors import ModelError
from pipeline.core.json_types import JsonObject
from pipeline.core.resources import bundled
from procrop_model.inference.onnx_engine import PARTS, ExportedModel, OnnxEngine
from procrop_model.model_folder.cropper_config import read_cropper_config
from procrop_model.network.config import CropperConfig
from procrop_model.network.lite0_files import weights_path
from procrop_model.retrieval.database import ReferenceDatabase

GRAPHS = "graphs.json"
# Fields of the configuration that shape no graph; those of the retrieval and of the answer work outside of them.
FREE = ("answer", "dropout", "encoder", "k", "source_side")
NORM_EPSILON = 1e-3  # of Lite0's batch norms
LITE0 = "extractor.backbone.net."
FLOAT = 1  # of TensorProto.DataType
Rule = tuple[str, list[int], list[str]]  # how, shape of the array, names of weights
Arrays = Mapping[str, NDArray[np.float32]]


class GraphsFile(TypedDict):
    """``graphs.json``: sizes of the network, tokens of a reference, and for each part the rules by name of an array."""

    structure: JsonObject
    tokens: int
    rules: dict[str, dict[str, Rule]]


def graphs_folder() -> Path:
    """The folder of the bundled graphs."""
    return bundled("assets") / "models" / "cropper-graphs"


@cache
def _about() -> GraphsFile:
    about: GraphsFile = json.loads((graphs_folder() / GRAPHS).read_text("utf-8"))
    return about


def structure_of(config: CropperConfig) -> JsonObject:
    """What must be equal for two croppers to have the same graphs, with references of equally many tokens."""
    return {name: value for name, value in config.to_json().items() if name not in FREE}


def load_with_graphs(folder: Path) -> ExportedModel | None:
    """The cropper of a model folder without torch; None where the bundled graphs are not those of its network.

    Raises ModelError when the folder is missing, foreign or damaged.
    """
    about = read_cropper_config(folder)
    config = CropperConfig.from_json(about["cropper"])
    if _about()["structure"] != structure_of(config):
        return None
    references = ReferenceDatabase.load(folder / "references", config.encoder or None)
    if references.tokens.shape[1] != _about()["tokens"]:
        return None
    weights = cropper_weights(folder)
    engine = OnnxEngine({part: filled_graph(part, weights) for part in PARTS}, config, explained_by=folder)
    engine.parameters = _count(weights)
    return ExportedModel(engine, config, references, about.get("trained", {}))


def _count(weights: Arrays) -> int:
    """Numbers that remain when batch norms are folded, which leaves of each a bias."""
    norms = [name.removesuffix("running_mean") for name in weights if name.endswith("running_mean")]
    folded = {norm + name for norm in norms for name in ("running_mean", "running_var", "weight")}
    return sum(weight.size for name, weight in weights.items() if name not in folded)


def cropper_weights(folder: Path) -> dict[str, NDArray[np.float32]]:
    """The weights of a model folder and of the bundled Lite0, in float32, by their names in the network. Raises ModelError."""
    try:
        own, lite0 = load_file(str(folder / "model.safetensors")), load_file(str(weights_path()))
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"the weights in {folder} are missing or truncated, train or copy the model anew: {error}"
        ) from error
    named = {**own, **{LITE0 + name: value for name, value in lite0.items()}}
    return {name: np.asarray(value, np.float32) for name, value in named.items()}


def filled_graph(part: str, weights: Arrays) -> bytes:
    """The ONNX model of a part with weights. Raises ModelError for weights of other names or shapes than the graphs need."""
    rules = _about()["rules"][part]
    try:
        arrays = {name: apply_rule(rule, weights) for name, rule in rules.items()}
    except (KeyError, ValueError) as error:
        raise ModelError(f"the weights of the cropper do not fit its config: {error}") from error
    return (graphs_folder() / f"{part}.onnx").read_bytes() + _initializers(arrays)


def apply_rule(rule: Rule, weights: Arrays) -> NDArray[np.float32]:
    """The array that a rule makes of weights. Raises KeyError and ValueError for weights of other names or sizes."""
    how, shape, names = rule
    return _MADE[how](weights, *names).reshape(shape)


def _folded(weights: Arrays, name: str, norm: str) -> NDArray[np.float32]:
    return weights[name] * _norm(norm, weights)[0][:, None, None, None]


_MADE: dict[str, Callable[..., NDArray[np.float32]]] = {
    "as": lambda weights, name: weights[name],
    "transposed": lambda weights, name: weights[name].T,
    "product": lambda weights, a, b: weights[a] * weights[b],
    "folded": _folded,  # a convolution times the scale of the batch norm behind it
    "folded_bias": lambda weights, norm: _norm(norm, weights)[1],
}


def _norm(name: str, weights: Arrays) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Scale [C] and shift [C] of a batch norm."""
    scale = weights[f"{name}.weight"] / np.sqrt(weights[f"{name}.running_var"] + np.float32(NORM_EPSILON))
    return scale, weights[f"{name}.bias"] - weights[f"{name}.running_mean"] * scale


def _initializers(arrays: Arrays) -> bytes:
    """A serialised ``ModelProto`` of initializers alone. Appended to another one it adds them: protobuf merges messages so."""
    tensors = b"".join(_field(5, _tensor(name, array)) for name, array in arrays.items())  # GraphProto.initializer
    return _field(7, tensors)  # ModelProto.graph


def _tensor(name: str, array: NDArray[np.float32]) -> bytes:
    dims = b"".join(b"\x08" + _varint(side) for side in array.shape)
    data = np.ascontiguousarray(array, "<f4").tobytes()
    return dims + b"\x10" + _varint(FLOAT) + _field(8, name.encode()) + _field(9, data)


def _field(number: int, content: bytes) -> bytes:
    """A length-delimited field of protobuf's wire format."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
