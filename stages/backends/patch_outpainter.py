"""The embedded out-painter: exact patch diffusion, which needs neither weights nor training."""

from collections.abc import Sequence
from typing import Any

from pipeline.seeds import digest_of
from stages.backends.lazy import engine
from stages.backends.protocols import Image, PaintRequest

# Of each version of the method; raised whenever the same request gives other pixels.
CODE_VERSIONS = {1: 2, 2: 1}


class PatchOutpainter:
    """Paints canvases from photos alone, one after another: a batch gives the same bytes as single requests."""

    licence = "MIT (no weights)"

    def __init__(self, *, steps: int = 6, max_side: int = 512, device: str = "cpu", version: int = 1) -> None:
        """steps: of the scheduler, at each scale. max_side: larger canvases are painted at this side and enlarged.

        version: of the method, 1 or 2; see ``patch_diffusion/tuning.py``.
        """
        if steps < 1 or max_side < 16:
            raise ValueError(f"steps={steps}, max_side={max_side}: give at least 1 and 16")
        if version not in CODE_VERSIONS:
            raise ValueError(f"version={version}: give one of {', '.join(map(str, CODE_VERSIONS))}")
        self.name = "patch-diffusion" if version == 1 else f"patch-diffusion-{version}"
        self.steps, self.max_side, self.device, self.version = steps, max_side, device, version
        self._painter: Any = None

    @property
    def digest(self) -> str:
        """16 hex digits of the settings and of the code's version; the device is not part of it."""
        code = CODE_VERSIONS[self.version]
        return digest_of({"name": self.name, "code": code, "steps": self.steps, "max_side": self.max_side})[:16]

    def paint(self, requests: Sequence[PaintRequest]) -> list[Image]:
        """Canvases uint8 [H, W, 3], in order, each with its photo's own pixels inside ``box_px``."""
        if self._painter is None:
            load = engine("stages.backends.patch_diffusion.painting:Painter")
            self._painter = load(steps=self.steps, max_side=self.max_side, device=self.device, version=self.version)
        painted: list[Image] = self._painter.paint(requests)
        return painted
