"""The retrieval-based cropper, usable alone: ``from procrop_model import Cropper``.

The names are looked up when they are first used, so that light parts of the package (the reference database) load
without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from procrop_model.cropper import Crop, Cropper

__all__ = ["Crop", "Cropper"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("procrop_model.cropper"), name)
    raise AttributeError(f"module 'procrop_model' has no attribute '{name}'")
