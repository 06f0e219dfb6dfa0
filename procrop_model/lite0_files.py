"""What is known of EfficientNet-Lite0 without loading it: its weights file, its shape and its digest."""

from pathlib import Path

from pipeline.resources import bundled, file_digest

CHANNELS = (24, 40, 112, 320)
STRIDES = (4, 8, 16, 32)


def weights_path() -> Path:
    """The bundled weights file."""
    return bundled("assets") / "models" / "lite0" / "model.safetensors"


def encoder_digest(size: int) -> str:
    """Digest of weights, input size and code version of ``Lite0Encoder``."""
    return f"lite0-v1-{size}-{file_digest(str(weights_path()))}"
