"""From pictures to crops: prediction, limits, local search, explanations, ONNX."""
