"""Versions and digests of the composition scorer, without loading it."""

from pipeline.core.resources import file_digest
from procrop_model.network.lite0_files import weights_path

# 4: maps are kept in fp16 and the mask as a grid (``Perception``).
VERSION = 4  # raised whenever the same weights give other scores
FEATURES_VERSION = 2  # raised whenever the same picture gives other features
LONG_SIDE = 288  # pixels of a picture as the encoder reads it


def features_digest() -> str:
    """Changes whenever the encoder's weights or the way that features are computed change."""
    return f"composition-features-v{FEATURES_VERSION}-{LONG_SIDE}-{file_digest(str(weights_path()))}"
