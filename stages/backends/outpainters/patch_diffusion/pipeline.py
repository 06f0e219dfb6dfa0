"""Out-painting as a diffusers pipeline: a scheduler of diffusers and the exact denoiser, coarse to fine; then the finest detail."""

import math
import warnings
from collections.abc import Sequence
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from torch import Tensor

from stages.backends.outpainters.patch_diffusion import pyramid
from stages.backends.outpainters.patch_diffusion.full_size import at_full_size
from stages.backends.outpainters.patch_diffusion.membrane import Membrane
from stages.backends.outpainters.patch_diffusion.patches import PatchGrid
from stages.backends.outpainters.patch_diffusion.pyramid import Level
from stages.backends.outpainters.patch_diffusion.scene import Scene
from stages.backends.outpainters.patch_diffusion.search import Exhaustive, Local, Search
from stages.backends.outpainters.patch_diffusion.sources import Sources, collect, fine_patches
from stages.backends.outpainters.patch_diffusion.tuning import TUNED, Tuning

LOCAL_STRIDE = (
    2  # pixels between patches at the larger scales: a quarter of the patches, which still overlap by 5 of 7 pixels
)
LAST_NOISE = 0.02  # where each scale ends: about the noise of 2.5 grey levels
REACH = 0.2  # of the colour correction at the frame, as a fraction of the canvas's long side
DRIFT = 0.25  # size of an error above which it counts as another structure, not as drift of colour
DETAIL_RADIUS = 1.0  # pixels: standard deviation of the Gaussian that separates the fine part
DETAIL_SHARPNESS = 8.0  # power of the window that fine patches are blended with: nearly one patch a pixel


class PatchDiffusionPipeline(DiffusionPipeline):
    """Paints what lies around photos, from the photos alone.

    At every scale the canvas starts from the coarser one plus noise and is denoised in a few ancestral Euler steps.

    Args:
        scheduler: any that steps on a prediction of the clean sample and takes ``sigmas``; its own are not used.
        tuning: how canvases are painted.
    """

    def __init__(self, scheduler: EulerDiscreteScheduler, tuning: Tuning = TUNED) -> None:
        super().__init__()
        self.tuning = tuning
        self.register_modules(scheduler=scheduler)  # type: ignore[no-untyped-call]

    @classmethod
    def default(cls) -> "PatchDiffusionPipeline":
        """With the scheduler that the settings were tuned with, and no progress bar."""
        pipeline = cls(EulerDiscreteScheduler(prediction_type="sample"))
        pipeline.set_progress_bar_config(disable=True)  # type: ignore[no-untyped-call]
        return pipeline

    @torch.no_grad()
    def __call__(
        self,
        scenes: Sequence[Scene],
        generators: Sequence[torch.Generator],
        num_inference_steps: int = 6,
        coarse: Sequence[Tensor] | None = None,
    ) -> list[Tensor]:
        """Canvases [1, 3, H, W] in -1..1, one a scene; the photo's pixels are kept as they are.

        Args:
            scenes: canvases to paint.
            generators: one a scene, on the CPU, so that a sample depends neither on its batch nor on its device.
            num_inference_steps: at each scale that weighs every source; larger scales may take fewer.
            coarse: canvases of another painter to start from [1, 3, h, w], at any size, instead of the photos' edges.
        """
        starts: Sequence[Tensor | None] = coarse or [None] * len(scenes)
        tasks = self.progress_bar(list(zip(scenes, generators, starts, strict=True)))
        return [self._paint(scene, generator, num_inference_steps, canvas) for scene, generator, canvas in tasks]

    def _paint(self, scene: Scene, generator: torch.Generator, steps: int, canvas: Tensor | None) -> Tensor:
        if scene.box == (0, 0, *scene.size):
            return scene.photo
        full, scene = scene, pyramid.shrunk(scene, self.tuning.search_side)
        coarser: Search | None = None
        # A device context makes every call of torch slower, and on the CPU it changes nothing.
        with nullcontext() if scene.photo.device.type == "cpu" else scene.photo.device:
            for scale in pyramid.scales(scene, self.tuning.coarsest):
                exhaustive = coarser is None or scale * max(scene.size) <= self.tuning.exhaustive_side
                level = pyramid.level(scene, scale, 1 if exhaustive else LOCAL_STRIDE)
                grid, sources = PatchGrid(level), collect(level)
                search = self._search(level, grid, sources, None if exhaustive else coarser, generator)
                count = steps if exhaustive else max(1, round(steps * self.tuning.fine_share))
                canvas = self._denoise(level, grid, search, self._noisy(level, canvas, generator, count), generator)
                coarser = search
            assert canvas is not None
            assert coarser is not None
            carried = coarser.carried()
            canvas = with_detail(canvas, level, grid, carried.matches[..., 0].flatten()[grid.active])
            return canvas if scene is full else at_full_size(full, canvas, carried)

    def _search(
        self, level: Level, grid: PatchGrid, sources: Sources, coarser: Search | None, generator: torch.Generator
    ) -> Search:
        """Among all sources, or near the matches of the coarser scale."""
        if coarser is None:
            return Exhaustive(level, grid, sources, self.tuning)
        return Local(level, grid, sources, self.tuning, coarser=coarser.carried(), generator=generator)

    def _noisy(self, level: Level, coarser: Tensor | None, generator: torch.Generator, steps: int) -> Tensor:
        """Where a scale begins [1, 3, H, W]: the coarser canvas, or the colours of the photo's edges, plus noise."""
        if coarser is None:
            start, noise = Membrane(level).extend(level.canvas()), self.tuning.first_noise
        else:
            start = level.fitted(coarser)
            first, least = self.tuning.first_noise, self.tuning.least_first_noise
            noise = min(first, max(least, first * (24 / max(level.size)) ** 0.8))
        sigmas = torch.linspace(math.log(noise), math.log(LAST_NOISE), steps, device="cpu").exp().tolist()
        with warnings.catch_warnings():
            # diffusers converts a tensor to an array in a way that numpy 2 deprecates.
            warnings.simplefilter("ignore", DeprecationWarning)
            self.scheduler.set_timesteps(sigmas=[*sigmas, 0.0])
        return start + noise * torch.randn(start.shape, generator=generator, device="cpu").to(start)

    def _denoise(
        self, level: Level, grid: PatchGrid, search: Search, noisy: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Run the scheduler over one scale: the clean canvas [1, 3, *true_size]."""
        canvas, known, membrane = level.canvas(), level.known() > 0, Membrane(level, REACH)
        for index, time in enumerate(self.scheduler.timesteps):
            self.scheduler.scale_model_input(
                noisy, time
            )  # its result is for networks: the exact denoiser takes x0 + sigma * noise
            sample = torch.where(known, canvas, noisy)
            estimate = grid.blend(search(sample, float(self.scheduler.sigmas[index])), canvas)
            estimate += membrane.extend(_drift(canvas - estimate))
            estimate = torch.where(known, canvas, estimate).clamp(-1, 1)
            step = self.scheduler.step(estimate, time, sample, s_churn=math.inf, generator=generator)
            noisy = step.prev_sample
        return noisy[:, :, : level.true_size[0], : level.true_size[1]]


def _drift(error: Tensor) -> Tensor:
    """The part of an error [1, 3, H, W] that is drift of colour; a large one is another structure and left alone."""
    size = error.square().sum(1, keepdim=True)
    return error / (1 + size / DRIFT**2) ** 2


def with_detail(canvas: Tensor, level: Level, grid: PatchGrid, best: Tensor) -> Tensor:
    """The canvas [1, 3, *true_size] with its fine part copied from the sources ``best`` [A], one an active patch.

    An average of patches that do not quite agree loses the finest detail, and the lower contrast shows that a border is
    painted. So the canvas keeps its coarse part and takes its fine part from the photo.
    """
    full = level.fitted(canvas)
    patches = fine_patches(level, _blurred)[best]
    detail = grid.blend(patches, torch.zeros_like(full), sharpness=DETAIL_SHARPNESS)
    out = torch.where(level.known() > 0, level.canvas(), _blurred(full) + detail).clamp(-1, 1)
    return out[:, :, : level.true_size[0], : level.true_size[1]]


def _blurred(image: Tensor) -> Tensor:
    """[B, 3, H, W] under a Gaussian of ``DETAIL_RADIUS`` pixels, edges repeated."""
    reach = round(2.5 * DETAIL_RADIUS)
    line = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=image.device) / DETAIL_RADIUS) ** 2)
    line = (line / line.sum()).expand(3, 1, 1, -1)
    padded = F.pad(image, (reach, reach, reach, reach), mode="replicate")
    return F.conv2d(F.conv2d(padded, line, groups=3), line.transpose(2, 3), groups=3)
