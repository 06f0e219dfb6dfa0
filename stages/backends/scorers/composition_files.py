"""What is known of the composition scorer without loading it: its versions and digests."""

from pipeline.core.resources import file_digest
from procrop_model.network.lite0_files import weights_path

VERSION = 2
FEATURES_VERSION = 2
LONG_SIDE = 288


def features_digest() -> str:
    """Changes whenever the encoder's weights or the way that features are computed change."""
    return f"composition-features-v{FEATURES_VERSION}-{LONG_SIDE}-{file_digest(str(weights_path()))}"
