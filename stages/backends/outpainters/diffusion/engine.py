"""Inference with a diffusion checkpoint: requests are grouped by size, painted in batches, and resized to their own sizes."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image as Pillow

from stages.backends.base.checkpoint_files import locate
from stages.backends.base.devices import in_batches, pick_device
from stages.backends.base.protocols import Declined, Image, PaintRequest
from stages.backends.outpainters.diffusion.backend import DiffusionSettings
from stages.backends.outpainters.diffusion.framing import Framed, bucket_of, buckets, framed
from stages.backends.outpainters.diffusion.loading import load_pipeline
from stages.backends.outpainters.diffusion.pipeline_types import Pipeline, PipelineInputs, accepted_inputs
from stages.backends.outpainters.diffusion.prompts import PromptCache, PromptTexts
from stages.backends.outpainters.diffusion.safety import SafetyChecker


class DiffusionEngine:
    """A loaded pipeline with its prompt cache and safety checker. Raises ModelError when a part does not load.

    Args:
        settings: of the backend.
        pipe: a pipeline that is loaded already; None loads it.
    """

    def __init__(self, settings: DiffusionSettings, pipe: Pipeline | None = None) -> None:
        self._settings = settings
        device = pick_device(settings.device)
        self.pipe = pipe or load_pipeline(settings, device)
        self._guided = settings.guidance_scale > 1
        self._prompts = self._read_prompts()
        self._checker = self._load_checker(device) if settings.safety else None
        self._buckets = buckets(settings.side, settings.family.multiple, settings.aspects)

    def _read_prompts(self) -> PromptCache | PromptTexts:
        kind = self._settings.family.prompts
        return PromptTexts(self.pipe) if kind == "text" else PromptCache(self.pipe, kind, self._guided)

    def _load_checker(self, device: str) -> SafetyChecker:
        s = self._settings
        where = locate(s.safety_model) if s.safety_model else locate(s.model, s.revision)
        own = not s.safety_model
        variant = s.variant if own and any(where.glob(f"safety_checker/*.{s.variant}.*")) else ""
        return SafetyChecker(where, own, device, dtype=getattr(torch, s.dtype), variant=variant)

    @property
    def batch(self) -> int:
        """Canvases painted together; one while ``auto`` has not been measured."""
        return self._settings.batch if isinstance(self._settings.batch, int) else 1

    def paint(self, requests: Sequence[PaintRequest]) -> list[Image | Declined]:
        """Canvases uint8 [H, W, 3], in order; unsafe ones are declined. Which are painted together follows from the requests."""
        groups: dict[tuple[int, int], list[int]] = defaultdict(list)
        for index, request in enumerate(requests):
            groups[bucket_of(request.size, self._buckets)].append(index)
        out: dict[int, Image | Declined] = {}
        for size, indices in sorted(groups.items()):
            framings = [(requests[i], framed(requests[i], size, self._settings.overlap)) for i in indices]
            painted = in_batches(self._batch, framings, self.batch)
            out.update(zip(indices, painted, strict=True))
        return [out[index] for index in range(len(requests))]

    def _batch(self, framings: Sequence[tuple[PaintRequest, Framed]]) -> list[Image | Declined]:
        count = len(framings)
        if self._settings.compile != "none":  # a compiled model is compiled for one size of batch
            framings = [*framings, *[framings[-1]] * (self.batch - count)]
        canvases = self._call([r for r, _ in framings], [f for _, f in framings])[:count]
        flags = self._checker.flags(canvases) if self._checker else [False] * count
        return [
            Declined("unsafe", "the safety checker found it") if flag else _resized(canvas, request.size)
            for canvas, flag, (request, _) in zip(canvases, flags, framings, strict=False)
        ]

    def _call(self, requests: Sequence[PaintRequest], framings: Sequence[Framed]) -> list[Image]:
        """Canvases at the framings' size, from one call of the pipeline."""
        s = self._settings
        prompts = self._prompts.batch([(r.prompt, r.negative_prompt) for r in requests])
        height, width = framings[0].mask.shape
        arguments: PipelineInputs = {
            "image": torch.stack([_unit(f.image) for f in framings]),  # [B, 3, H, W] in 0..1
            "mask_image": torch.stack([torch.from_numpy(f.mask).float()[None] / 255 for f in framings]),  # [B, 1, H, W]
            "height": height,
            "width": width,
            "strength": s.strength,
            "num_inference_steps": s.num_inference_steps,
            "guidance_scale": s.guidance_scale,
            # On the CPU, so that the noise of a seed is the same on every device.
            "generator": [torch.Generator("cpu").manual_seed(r.seed) for r in requests],
            "output_type": "pt",
        }
        controls = [_unit(f.control) for f in framings if f.control is not None]
        if "controlnet" in s.kind:
            arguments["control_image"] = torch.stack(controls)
            arguments["controlnet_conditioning_scale"] = getattr(s, "controlnet_conditioning_scale", 1.0)
        known = accepted_inputs(self.pipe) if s.kind == "auto" else frozenset(arguments)
        given = {name: value for name, value in arguments.items() if name in known}
        images = self.pipe(**prompts, **given).images  # [B, 3, H, W] in 0..1
        pixels = (images.float().clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)  # [B, H, W, 3]
        return list(pixels.cpu().numpy())


def _unit(image: Image) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float() / 255  # [3, H, W]


def _resized(canvas: Image, size: tuple[int, int]) -> Image:
    if (canvas.shape[1], canvas.shape[0]) == size:
        return canvas
    return np.asarray(Pillow.fromarray(canvas).resize(size, Pillow.Resampling.LANCZOS))


def measured_memory(settings: DiffusionSettings) -> tuple[float, float, float]:
    """(free bytes beside the weights, peak bytes of one canvas, of two) on the CUDA device, beyond the weights."""
    cuda = torch.cuda
    # Two steps are enough: the peak does not depend on their number.
    changes = {"batch": 2, "num_inference_steps": 2, "strength": 1.0, "compile": "none"}
    loaded = DiffusionEngine(settings.model_copy(update=changes))
    loaded.paint(_blank_requests(settings.side, 1))  # allocates what stays
    cuda.empty_cache()
    free, weights = float(cuda.mem_get_info()[0]), float(cuda.memory_allocated())
    peaks = []
    for count in (1, 2):
        cuda.reset_peak_memory_stats()
        loaded.paint(_blank_requests(settings.side, count))
        peaks.append(float(cuda.max_memory_allocated()) - weights)
    return free, peaks[0], peaks[1]


def _blank_requests(side: int, count: int) -> list[PaintRequest]:
    half = side // 2
    photo, regions = np.zeros((half, half, 3), np.uint8), np.ones((half, half), np.int32)
    box = (side // 4, side // 4, side // 4 + half, side // 4 + half)
    return [PaintRequest(photo, None, box, (side, side), seed, "a photograph", "", regions) for seed in range(count)]
