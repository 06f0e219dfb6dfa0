"""The retrieval-based cropper, usable alone: ``from procrop_model import Cropper``."""

from procrop_model.infer import Crop, Cropper

__all__ = ["Crop", "Cropper"]
