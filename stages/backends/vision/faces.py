"""The embedded face detector as a backend: ``procrop_model.faces``, which the cropper uses as well."""

from typing import Literal

from pydantic import Field

from procrop_model.faces.detector import FaceDetector
from stages.backends.base.backend_settings import BackendSettings


class BlazeFaceSettings(BackendSettings):
    """BlazeFace through onnxruntime on one CPU thread.

    Args:
        sides: long sides in pixels at which a picture is searched. One of 320 takes 15 ms a picture and finds faces from 4 % of
            the picture on; 192 and 448 together take 32 ms and find smaller ones (``assets/models/faces``).
    """

    kind: Literal["blazeface"] = "blazeface"
    sides: tuple[int, ...] = Field((320,), min_length=1)

    def build(self) -> FaceDetector:
        """The backend; nothing is loaded yet."""
        return FaceDetector(sides=self.sides)


class NoFacesSettings(BackendSettings):
    """No face detector: faces are neither kept whole nor looked for in paint."""

    kind: Literal["none"]

    def build(self) -> None:
        """Nothing."""
