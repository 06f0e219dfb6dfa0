"""The retrieval-based cropper, usable alone: ``from procrop_model import Cropper``."""
