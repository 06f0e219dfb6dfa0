"""What is known of EfficientNet-Lite0 without loading it: its weights file, its shape and its digest."""

from pathlib import Path

from pipeline.core.errors import ModelError
from pipeline.core.resources import bundled, file_digest

CHANNELS = (24, 40, 112, 320)
STRIDES = (4, 8, 16, 32)


def weights_path() -> Path:
    """The bundled weights file."""
    return bundled("assets") / "models" / "lite0" / "model.safetensors"


def encoder_digest(size: int) -> str:
    """Digest of weights, input size and code version of ``Lite0Encoder``."""
    return f"lite0-v1-{size}-{file_digest(str(weights_path()))}"


def lite0_side(digest: str) -> int:
    """The input side in pixels of the Lite0 that a digest names; 0 when it names another encoder. Raises ModelError when it
    names Lite0 with other weights or of another version.
    """
    parts = digest.split("-")
    if parts[0] != "lite0":
        return 0
    side = int(parts[2]) if len(parts) == 4 and parts[2].isdigit() else 0
    if not side or encoder_digest(side) != digest:
        raise ModelError(f"the references were made with encoder '{digest}', which this installation does not have")
    return side
