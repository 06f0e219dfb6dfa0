"""Out-painters from public diffusion checkpoints, through diffusers: Stable Diffusion 1.5, 2 and XL, FLUX Fill, ControlNet."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from pipeline.core.errors import ModelError
from pipeline.core.json_types import Json
from pipeline.core.lazy_import import LazyImport
from stages.backends.base.checkpoint_backend import CheckpointSettings, FromCheckpoint
from stages.backends.base.checkpoint_files import locate, weights_digest
from stages.backends.base.protocols import Declined, Image, PaintRequest
from stages.backends.outpainters.diffusion.families import FAMILIES, Family

if TYPE_CHECKING:
    from stages.backends.outpainters.diffusion.engine import DiffusionEngine

ENGINE: "LazyImport[type[DiffusionEngine]]" = LazyImport("stages.backends.outpainters.diffusion.engine:DiffusionEngine")
# Not part of the digest: they choose where the model computes, and pixels differ only by rounding of the device's kernels.
PLACE = {"device", "enable_model_cpu_offload", "enable_sequential_cpu_offload"}


class DiffusionSettings(CheckpointSettings):
    """What all families share. Names are those of diffusers where the thing is its own. Left out, model, licence,
    side, num_inference_steps, guidance_scale and strength are the family's published ones.

    Args:
        model: a folder in diffusers' layout, or a hub id that was downloaded.
        variant: of the weights' files, such as ``fp16``; empty for the plain ones.
        dtype: of the weights and activations.
        num_inference_steps: of the scheduler.
        guidance_scale: scale of classifier-free guidance; at most 1 turns it off.
        strength: share of the noise schedule that is run, from its end.
        scheduler: name of a diffusers class; empty for the checkpoint's own.
        scheduler_options: arguments that replace the scheduler's configuration.
        lora: folder, file or hub id of LoRA weights; empty for none.
        lora_scale: factor of the LoRA weights as they are added.
        side: square root of the pixels painted.
        aspects: ratios (width over height) of the sizes that are painted at; a canvas takes the nearest.
        overlap: width in pixels of the photo's border that is painted anew, so that the model can blend across the frame.
        batch: canvases painted together; ``auto`` is measured from the free memory once and then kept in plan.json.
        enable_model_cpu_offload: keeps each model in the host's memory until it is used; needs a CUDA device.
        enable_sequential_cpu_offload: the same for each layer, which takes the least memory and the most time.
        compile: mode of ``torch.compile`` for the denoiser and the decoder.
        channels_last: memory format of the denoiser and the decoder.
        vae_slicing: decodes one image at a time, which takes less memory.
        vae_tiling: decodes in tiles, which takes less memory.
        attention: implementation of attention.
        safety: whether canvases that a safety checker flags are rejected as ``unsafe``.
        safety_model: the checker, for checkpoints that bring none.
    """

    kind: str
    model: str
    revision: str = ""
    variant: str = ""
    licence: str
    dtype: Literal["float32", "bfloat16", "float16"] = "float16"
    num_inference_steps: int = Field(ge=1, le=1000)
    guidance_scale: float = Field(ge=0, le=100)
    strength: float = Field(gt=0, le=1)
    scheduler: str = ""
    scheduler_options: dict[str, bool | int | float | str] = Field(default_factory=dict)
    lora: str = ""
    lora_scale: float = Field(1.0, ge=-4, le=4)
    side: int = Field(ge=64, le=4096)
    aspects: tuple[float, ...] = Field((1.7778, 1.5, 1.3333, 1.0, 0.75, 0.6667, 0.5625), min_length=1)
    overlap: int = Field(8, ge=0, le=256)
    batch: Literal["auto"] | int = "auto"
    enable_model_cpu_offload: bool = False
    enable_sequential_cpu_offload: bool = False
    compile: Literal["none", "default", "reduce-overhead", "max-autotune"] = "none"
    channels_last: bool = False
    vae_slicing: bool = False
    vae_tiling: bool = False
    attention: Literal["sdpa", "sliced", "xformers", "flash", "sage"] = "sdpa"
    safety: bool = True
    safety_model: str = ""

    @model_validator(mode="before")
    @classmethod
    def _as_published(cls, given: Any) -> Any:
        family = FAMILIES.get(str(given.get("kind"))) if isinstance(given, dict) else None
        if family is None:
            return given
        names = ("model", "licence", "side", "num_inference_steps", "guidance_scale", "strength")
        published = {name: getattr(family, name) for name in names}
        return {**{name: value for name, value in published.items() if value not in ("", None)}, **given}

    @model_validator(mode="after")
    def _possible(self) -> "DiffusionSettings":
        if isinstance(self.batch, int) and self.batch < 1:
            raise ValueError(f"batch {self.batch}: give at least 1, or auto")
        if int(self.num_inference_steps * self.strength) < 1:
            steps = f"num_inference_steps {self.num_inference_steps}"
            raise ValueError(f"{steps} at strength {self.strength} leave no step: raise one of them")
        if self.enable_model_cpu_offload and self.enable_sequential_cpu_offload:
            raise ValueError("enable_model_cpu_offload and enable_sequential_cpu_offload exclude each other: give one")
        return self

    @property
    def family(self) -> Family:
        """What is known of the kind."""
        return FAMILIES[self.kind]

    def build(self) -> "DiffusersOutpainter":
        """The backend; nothing is loaded yet."""
        return DiffusersOutpainter(self)


class InpaintSettings(DiffusionSettings):
    """In-painting checkpoints of Stable Diffusion; that of ``sd3-inpaint`` was trained on whole pictures."""

    kind: Literal["sd15-inpaint", "sd2-inpaint", "sdxl-inpaint", "sd3-inpaint"]


class FluxFillSettings(DiffusionSettings):
    """FLUX Fill: negative prompts have no effect, and the checkpoint brings no safety checker."""

    kind: Literal["flux-fill"]
    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"


class ZImageSettings(DiffusionSettings):
    """Z-Image, which paints in few steps; with guidance 0, as for its Turbo checkpoint, negative prompts have no effect."""

    kind: Literal["z-image"]
    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"


class AutoInpaintSettings(DiffusionSettings):
    """Any checkpoint that diffusers' AutoPipelineForInpainting knows. Its card says with which steps and guidance."""

    kind: Literal["auto"]
    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"


class ControlNetSettings(DiffusionSettings):
    """In-painting conditioned on the photo's regions, extended beyond its frame; needs ``models.composer``.

    Args:
        controlnet: folder or hub id of a ControlNet for segmentation maps.
        controlnet_conditioning_scale: weight of the ControlNet's output.
    """

    kind: Literal["controlnet-inpaint"]
    controlnet: str = "lllyasviel/control_v11p_sd15_seg"
    controlnet_conditioning_scale: float = Field(1.0, ge=0, le=4)


class SdxlControlNetSettings(ControlNetSettings):
    """The same with SDXL, for canvases of 1024 pixels; name a ControlNet of SDXL that was trained on segmentation maps."""

    kind: Literal["sdxl-controlnet-inpaint"]  # type: ignore[assignment]
    controlnet: str = Field(min_length=1)


class DiffusersOutpainter(FromCheckpoint[DiffusionSettings, "DiffusionEngine"]):
    """Canvases of one size are painted together, ``batch`` at a time, each from a seed of its own.

    The same requests in the same batches give the same bytes on the same stack. Another batch size, device or version of
    torch moves pixels by rounding (BENCHMARKS.md says by how much).
    """

    def __init__(self, settings: DiffusionSettings) -> None:
        super().__init__(settings.kind, settings, ENGINE)

    def _identity(self) -> Mapping[str, Json]:
        files = {"model", "licence", "lora", "safety_model", "controlnet"}
        return self._settings.model_dump(mode="json", exclude=PLACE | files)

    def _weights(self) -> list[str]:
        s = self._settings
        others = (s.lora, s.safety_model if s.safety else "", getattr(s, "controlnet", ""))
        own = weights_digest(locate(s.model, s.revision), s.variant)
        return [own, *(weights_digest(locate(path)) for path in others if path)]

    def paint(self, requests: Sequence[PaintRequest]) -> list[Image | Declined]:
        """Canvases uint8 [H, W, 3], in order; ``unsafe`` ones are declined. ModelError when the checkpoint does not load."""
        if "controlnet" in self.name and any(request.regions is None for request in requests):
            raise ModelError(f"models.outpainter '{self.name}' needs regions: name a models.composer, for example sam")
        return self._loaded().paint(requests)
