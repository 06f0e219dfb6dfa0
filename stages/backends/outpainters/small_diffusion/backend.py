"""The out-painter that ``procrop-data train-outpainter`` trains: a small diffusion model of the user's photographs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pipeline.core.lazy_import import LazyImport
from pipeline.core.seeds import digest_of
from stages.backends.base.backend_settings import DeviceSettings
from stages.backends.base.checkpoint_files import locate, weights_digest
from stages.backends.base.protocols import Image, PaintRequest
from stages.backends.outpainters.patch_diffusion.backend import PatchOutpainter

if TYPE_CHECKING:
    from stages.backends.outpainters.small_diffusion.painting import SmallPainter

PAINTER: "LazyImport[type[SmallPainter]]" = LazyImport(
    "stages.backends.outpainters.small_diffusion.painting:SmallPainter"
)
CODE_VERSION = 1  # raised whenever the same request gives other pixels


class SmallDiffusionSettings(DeviceSettings):
    """A trained small out-painter.

    Args:
        model: a folder that ``train-outpainter`` wrote.
        num_inference_steps: of the scheduler.
        batch: canvases painted together.
        detail: ``none`` enlarges the model's small canvas; ``patch`` lets patch diffusion start from it.
        licence: of the weights, which follows from the photographs that they were trained on.
    """

    kind: Literal["small-diffusion"]
    model: str
    num_inference_steps: int = Field(25, ge=1, le=1000)
    batch: int = Field(8, ge=1)
    detail: Literal["none", "patch"] = "none"
    licence: str = "as the model's README.md says"

    def build(self) -> "SmallOutpainter":
        """The backend; nothing is loaded yet."""
        return SmallOutpainter(self)


class SmallOutpainter:
    """Paints at the model's size and enlarges: canvases of one shape together, each from a seed of its own.

    Another batch size moves pixels by rounding, as for all networks.
    """

    name = "small-diffusion"

    def __init__(self, settings: SmallDiffusionSettings) -> None:
        self._settings = settings
        self.licence = settings.licence
        self._painter: SmallPainter | None = None
        self._patches: PatchOutpainter | None = None
        self._digest = ""

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_painter": None, "_patches": None}

    @property
    def digest(self) -> str:
        """Of the weights, the settings without device and licence, and the code. ModelError when the folder is missing."""
        if not self._digest:
            settings = self._settings.model_dump(mode="json", exclude={"model", "licence", "device"})
            settings["steps"] = settings.pop("num_inference_steps")  # as in digests of earlier versions
            settings["detail"] = PatchOutpainter().digest if settings["detail"] == "patch" else ""
            weights = outpainter_digest(self._settings.model)
            self._digest = digest_of({"code": CODE_VERSION, "settings": settings, "weights": weights})[:16]
        return self._digest

    def paint(self, requests: Sequence[PaintRequest]) -> list[Image]:
        """Canvases uint8 [H, W, 3], in order, each with its photo's own pixels inside ``box_px``. ModelError as ``digest``."""
        if self._painter is None:
            s = self._settings
            self._painter = PAINTER.load()(locate(s.model), steps=s.num_inference_steps, batch=s.batch, device=s.device)
        if self._settings.detail == "none":
            return self._painter.paint(requests)
        if self._patches is None:
            self._patches = PatchOutpainter(device=self._painter.device)
        return self._patches.paint(requests, self._painter.small(requests))


def outpainter_digest(model: str) -> str:
    """16 hex digits of the files that are loaded from a trained folder; its card and its report do not count."""
    folder = locate(model)
    return digest_of([weights_digest(folder / part) for part in ("unet", "scheduler")])[:16]
