"""Boxes of a trained cropper, as candidates for the refinement, where the aesthetic scorer judges them, not the cropper itself."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from procrop_model.model_folder.digest import model_digest
from stages.backends.base.lazy_import import engine
from stages.backends.base.protocols import Floats, Image

CODE_VERSION = 1


class CropperBoxes:
    """The best boxes of the cropper in a model folder. Implements ``BoxProposer``."""

    name = "cropper"

    def __init__(self, folder: str, most: int) -> None:
        self._folder, self._most = folder, most
        self._cropper: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_cropper": None}

    @property
    def digest(self) -> str:
        """Of the cropper's files and the code version; raises ModelError when there is no cropper."""
        return f"v{CODE_VERSION}-{model_digest(self._folder)}"

    def propose(self, images: Sequence[Image], own: Sequence[Collection[str]]) -> list[Floats]:
        """See ``BoxProposer``; each picture is looked at alone, so its boxes do not depend on its batch."""
        if self._cropper is None:
            self._cropper = engine("procrop_model.cropper:Cropper").load(self._folder)
        found = []
        for image, keys in zip(images, own, strict=True):
            (boxes,), _ = self._cropper.propose([image], exclude=[keys])
            found.append(np.asarray(boxes[: self._most], np.float32))
        return found
