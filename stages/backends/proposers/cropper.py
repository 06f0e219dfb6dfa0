"""Boxes of a trained cropper, as candidates for the refinement, which scores them by the recipe's scorer."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipeline.core.lazy_import import LazyImport
from procrop_model.model_folder.digest import model_digest
from stages.backends.base.protocols import Floats, Image

if TYPE_CHECKING:
    from procrop_model.cropper import Cropper

CODE_VERSION = 1  # raised whenever the same cropper gives other boxes
CROPPER: "LazyImport[type[Cropper]]" = LazyImport("procrop_model.cropper:Cropper")


class CropperBoxes:
    """The best boxes of a cropper. Implements ``BoxProposer``.

    Args:
        folder: of the cropper.
        most: boxes an image.
    """

    name = "cropper"

    def __init__(self, folder: str, most: int) -> None:
        self._folder, self._most = folder, most
        self._cropper: Cropper | None = None

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_cropper": None}

    @property
    def digest(self) -> str:
        """Of the cropper's files and the code version; raises ModelError when there is no cropper."""
        return f"v{CODE_VERSION}-{model_digest(self._folder)}"

    def propose(self, images: Sequence[Image], own: Sequence[Collection[str]]) -> list[Floats]:
        """Boxes as ``BoxProposer`` states; each image is run alone, so its boxes do not depend on its batch."""
        if self._cropper is None:
            self._cropper = CROPPER.load().load(self._folder, precision="fp32")  # the same boxes on any processor
        proposed = []
        for image, keys in zip(images, own, strict=True):
            (boxes,), _ = self._cropper.propose([image], exclude=[keys])
            proposed.append(np.asarray(boxes[: self._most], np.float32))
        return proposed
