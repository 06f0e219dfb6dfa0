"""Faces of a picture, and the heads around them; numpy and onnxruntime only."""
