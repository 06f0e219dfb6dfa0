"""How many canvases a device has memory for together."""

import numpy as np

from stages.backends.base.lazy_import import engine
from stages.backends.base.protocols import PaintRequest
from stages.backends.outpainters.diffusion.backend import DiffusionSettings

LARGEST = 64
SPARE = 0.9  # share of the free memory that is used: fragments, and larger buckets than the one that was measured


def find_batch(settings: DiffusionSettings) -> int:
    """A power of two, from the memory that one and two canvases take; 1 on a processor, which gains nothing from batches."""
    if not engine("stages.backends.base.devices:pick")(settings.device).startswith("cuda"):
        return 1
    return largest(*_measured(settings))


def largest(free: float, one: float, two: float) -> int:
    """The largest power of two whose peak fits. free: bytes left beside the weights; one, two: peaks of so many canvases."""
    each = max(two - one, one * 0.05, 1.0)
    fits = 1 + max(0.0, (free * SPARE - one) / each)
    batch = 1
    while batch * 2 <= min(fits, LARGEST):
        batch *= 2
    return batch


def _measured(settings: DiffusionSettings) -> tuple[float, float, float]:
    """(free bytes beside the weights, peak bytes of one canvas, of two) on the device, beyond the weights."""
    cuda = engine("torch:cuda")
    brief = {
        "batch": 2,
        "steps": 2,
        "strength": 1.0,
        "compile": "none",
    }  # the peak does not depend on the number of steps
    loaded = engine("stages.backends.outpainters.diffusion.engine:DiffusionEngine")(settings.model_copy(update=brief))
    loaded.paint(_requests(settings.side, 1))  # allocates what stays
    cuda.empty_cache()
    free, weights = float(cuda.mem_get_info()[0]), float(cuda.memory_allocated())
    peaks = []
    for count in (1, 2):
        cuda.reset_peak_memory_stats()
        loaded.paint(_requests(settings.side, count))
        peaks.append(float(cuda.max_memory_allocated()) - weights)
    return free, peaks[0], peaks[1]


def _requests(side: int, count: int) -> list[PaintRequest]:
    half = side // 2
    photo, regions = np.zeros((half, half, 3), np.uint8), np.ones((half, half), np.int32)
    box = (side // 4, side // 4, side // 4 + half, side // 4 + half)
    return [PaintRequest(photo, None, box, (side, side), seed, "a photograph", "", regions) for seed in range(count)]
