"""The out-painter that ``procrop-data train-outpainter`` makes: a small diffusion model of one's own photographs."""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from pipeline.core.seeds import digest_of
from stages.backends.base.backend_settings import DeviceSettings
from stages.backends.base.checkpoint_files import locate, weights_digest
from stages.backends.base.lazy_import import engine
from stages.backends.base.protocols import Image, PaintRequest
from stages.backends.outpainters.patch_diffusion.backend import PatchOutpainter

CODE_VERSION = 1  # raised whenever the same request gives other pixels


class SmallDiffusionSettings(DeviceSettings):
    """model: a folder that ``train-outpainter`` wrote. steps: of the scheduler; batch: canvases painted together.

    detail: what is done beyond the model's few pixels: ``none`` enlarges its canvas, ``patch`` lets the patch diffusion
    begin from it. licence: of the weights, which follows from the photographs that they were trained on.
    """

    kind: Literal["small-diffusion"]
    model: str
    steps: int = Field(25, ge=1, le=1000)
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
        self._engine: Any = None
        self._patches: Any = None
        self._digest = ""

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_engine": None, "_patches": None}

    @property
    def digest(self) -> str:
        """Of the weights, the settings but for place and licence, and the code. ModelError when the folder is missing."""
        if not self._digest:
            told: dict[str, Any] = self._settings.model_dump(mode="json", exclude={"model", "licence", "device"})
            told["detail"] = PatchOutpainter().digest if told["detail"] == "patch" else ""
            weights = model_digest(self._settings.model)
            self._digest = digest_of({"code": CODE_VERSION, "settings": told, "weights": weights})[:16]
        return self._digest

    def paint(self, requests: Sequence[PaintRequest]) -> list[Image]:
        """Canvases uint8 [H, W, 3], in order, each with its photo's own pixels inside ``box_px``. ModelError as ``digest``."""
        if self._engine is None:
            s = self._settings
            load = engine("stages.backends.outpainters.small_diffusion.painting:SmallPainter")
            self._engine = load(locate(s.model), steps=s.steps, batch=s.batch, device=s.device)
        if self._settings.detail == "none":
            painted: list[Image] = self._engine.paint(requests)
        else:
            painted = self._with_patches(requests)
        return painted

    def _with_patches(self, requests: Sequence[PaintRequest]) -> list[Image]:
        if self._patches is None:
            self._patches = PatchOutpainter(device=self._engine.device)
        painted: list[Image] = self._patches.paint(requests, self._engine.small(requests))
        return painted


def model_digest(model: str) -> str:
    """16 hex digits of what is loaded from a trained folder: its card and its times are not part of it."""
    folder = locate(model)
    return digest_of([weights_digest(folder / part) for part in ("unet", "scheduler")])[:16]
