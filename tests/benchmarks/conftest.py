"""The tiny dataset of the cropper's tests."""

from tests.procrop_model.conftest import _one_thread, tiny, workplace

__all__ = ["_one_thread", "tiny", "workplace"]
