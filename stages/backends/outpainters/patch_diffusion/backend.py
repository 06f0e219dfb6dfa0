"""The embedded out-painter: exact patch diffusion, which needs neither weights nor training."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pipeline.core.lazy_import import LazyImport
from pipeline.core.seeds import digest_of
from stages.backends.base.backend_settings import BackendSettings
from stages.backends.base.protocols import Image, PaintRequest

if TYPE_CHECKING:
    from stages.backends.outpainters.patch_diffusion.painting import Painter

PAINTER: "LazyImport[type[Painter]]" = LazyImport("stages.backends.outpainters.patch_diffusion.painting:Painter")
# Raised whenever the same request gives other pixels.
CODE_VERSION = 4


class PatchDiffusionSettings(BackendSettings):
    """Exact patch diffusion: no weights, no training, any photo.

    Args:
        num_inference_steps: of the scheduler at each scale.
    """

    kind: Literal["patch-diffusion"] = "patch-diffusion"
    num_inference_steps: int = Field(6, ge=1, le=200)

    def build(self) -> "PatchOutpainter":
        """The backend; nothing is loaded yet."""
        return PatchOutpainter(steps=self.num_inference_steps)


class PatchOutpainter:
    """Paints canvases from photos alone, one after another: a batch gives the same bytes as single requests.

    Args:
        steps: of the scheduler at each scale.
        device: a torch device.
    """

    name = "patch-diffusion"
    licence = "MIT (no weights)"

    def __init__(self, *, steps: int = 6, device: str = "cpu") -> None:
        if steps < 1:
            raise ValueError(f"steps={steps}: give at least 1")
        self.steps, self.device = steps, device
        self._painter: Painter | None = None

    @property
    def digest(self) -> str:
        """16 hex digits of the settings and of the code's version; the device is not part of it."""
        return digest_of({"name": self.name, "code": CODE_VERSION, "steps": self.steps})[:16]

    def paint(self, requests: Sequence[PaintRequest], coarse: Sequence[Image] | None = None) -> list[Image]:
        """Canvases uint8 [H, W, 3], in order, each with its photo's own pixels inside ``box_px``.

        Args:
            requests: canvases to paint.
            coarse: small canvases uint8 [h, w, 3] of the same requests, to start from instead of the photos' edges.
        """
        if self._painter is None:
            self._painter = PAINTER.load()(steps=self.steps, device=self.device)
        return self._painter.paint(requests, coarse)
