"""How ``assets/models/cropper-graphs`` was made from an exported cropper: its graphs, without what its weights give.

    procrop-data export --out cropper-onnx
    python -m benchmarks.cropper_graphs cropper-onnx assets/models/cropper-graphs

Every array that a weight gives is taken out; ``graphs.json`` says by which rule it is made again: as it is, transposed,
multiplied with another one, or folded with a batch norm. So any cropper of these sizes runs in onnxruntime with the weights of its
own folder. To be run again after a change of the network or of torch's exporter. Needs the package onnx.
"""

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from procrop_model.inference.bare_graphs import GRAPHS, Rule, apply_rule, cropper_weights, structure_of
from procrop_model.inference.onnx_engine import PARTS
from procrop_model.network.config import CropperConfig

MOST_FACTORS = 64  # numbers in an array that is tried as a product of two weights
Arrays = Mapping[str, NDArray[np.float32]]


def main() -> None:
    """Strip the graphs of an exported cropper; raises SystemExit for an array that no weight gives."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exported", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", type=Path, default=Path("assets/models/cropper"), help="folder that was exported")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    config = CropperConfig.from_json(json.loads((options.exported / "config.json").read_text("utf-8"))["cropper"])
    weights = cropper_weights(options.model)
    about: dict[str, Any] = {"structure": structure_of(config), "rules": {}}
    for part in PARTS:
        graph = onnx.load(options.exported / f"{part}.onnx")
        about["rules"][part] = stripped(graph, weights)
        (options.out / f"{part}.onnx").write_bytes(graph.SerializeToString())
    about["tokens"] = _tokens(onnx.load(options.exported / "crops.onnx"))
    (options.out / GRAPHS).write_text(json.dumps(about, separators=(",", ":")), "utf-8")


def stripped(graph: onnx.ModelProto, weights: Arrays) -> dict[str, Rule]:
    """The rule of each array that is taken out of ``graph``, by its name there."""
    rules: dict[str, Rule] = {}
    for node in graph.graph.node:
        del node.metadata_props[:]
        node.ClearField("doc_string")
    del graph.graph.value_info[:]
    kept = []
    for array in graph.graph.initializer:
        value = onnx.numpy_helper.to_array(array)
        rule = rule_for(array.name, value, weights) if value.dtype == np.float32 and value.size > 1 else None
        if rule is None:
            kept.append(array)
            if value.dtype == np.float32 and value.size > 1:
                print(f"no weight gives {array.name} {list(value.shape)}: it must be a constant of the network")
        else:
            rules[array.name] = rule
    del graph.graph.initializer[:]
    graph.graph.initializer.extend(kept)
    return rules


def rule_for(name: str, value: NDArray[np.float32], weights: Arrays) -> Rule | None:
    """The rule that gives ``value``, if one does: the weight of its name rather than one that happens to be equal."""
    shape = list(value.shape)
    own = name.removeprefix("network.")
    ordered = {**({own: weights[own]} if own in weights else {}), **weights}
    for how, names in _candidates(value, ordered):
        if np.allclose(apply_rule((how, shape, names), weights), value, rtol=1e-5, atol=1e-6):
            return (how, shape, names)
    return None


def _candidates(value: NDArray[np.float32], weights: Arrays) -> Iterator[tuple[str, list[str]]]:
    alike = [name for name, weight in weights.items() if weight.size == value.size]
    for name in alike:
        yield "as", [name]
        if weights[name].T.shape == value.shape and value.ndim == 2:
            yield "transposed", [name]
    if value.size < MOST_FACTORS:
        pairs = [(a, b) for a in alike for b in alike if a < b and weights[a].shape == weights[b].shape]
        yield from (("product", list(pair)) for pair in pairs)
    norms = [name.removesuffix(".running_mean") for name in weights if name.endswith(".running_mean")]
    for norm in norms:
        if len(weights[f"{norm}.running_mean"]) == len(value):
            if value.ndim == 1:
                yield "folded_bias", [norm]
            if value.ndim == 4:
                yield from (("folded", [name, norm]) for name in alike if weights[name].shape == value.shape)


def _tokens(graph: onnx.ModelProto) -> int:
    (tokens,) = (given for given in graph.graph.input if given.name == "tokens")
    return int(tokens.type.tensor_type.shape.dim[2].dim_value)


if __name__ == "__main__":
    main()
