"""How many canvases fit into a device's memory together."""

from collections.abc import Callable

from pipeline.core.lazy_import import LazyImport
from stages.backends.outpainters.diffusion.backend import DiffusionSettings

LARGEST = 64
SPARE = 0.9  # share of the free memory that is used: the rest is for fragmentation and for larger buckets than the measured one
PICK_DEVICE: LazyImport[Callable[[str], str]] = LazyImport("stages.backends.base.devices:pick_device")
# Settings -> (free bytes beside the weights, peak bytes of one canvas, of two), beyond the weights.
MEASURE: LazyImport[Callable[[DiffusionSettings], tuple[float, float, float]]] = LazyImport(
    "stages.backends.outpainters.diffusion.engine:measured_memory"
)


def find_batch(settings: DiffusionSettings) -> int:
    """A power of two, from the memory that one and two canvases take; 1 on a CPU, where batches save no time."""
    if not PICK_DEVICE.load()(settings.device).startswith("cuda"):
        return 1
    return largest(*MEASURE.load()(settings))


def largest(free: float, one: float, two: float) -> int:
    """The largest power of two whose peak fits. free: bytes left beside the weights; one, two: peaks of so many canvases."""
    each = max(two - one, one * 0.05, 1.0)
    fits = 1 + max(0.0, (free * SPARE - one) / each)
    batch = 1
    while batch * 2 <= min(fits, LARGEST):
        batch *= 2
    return batch
