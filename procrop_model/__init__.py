"""The retrieval-based cropper, usable on its own: ``from procrop_model import Cropper``. docs/api.md lists the public names.

The names are imported on first use, so that importing a part that needs no torch (the reference database) does not load it.
"""

from importlib import import_module
from typing import TYPE_CHECKING

import pipeline as pipeline  # before torch: it sets how threads wait

if TYPE_CHECKING:
    from procrop_model.crop import Crop
    from procrop_model.cropper import Cropper
    from procrop_model.inference.crop_options import Limits

__all__ = ["Crop", "Cropper", "Limits"]


def __getattr__(name: str) -> object:
    if name in __all__:
        return getattr(import_module("procrop_model.cropper"), name)
    raise AttributeError(f"module 'procrop_model' has no attribute '{name}'")
