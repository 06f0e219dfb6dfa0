"""Smoke test: each model of a recipe is loaded and makes one sample, which is checked (``procrop-data doctor``)."""

import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass

import numpy as np
import psutil
import torch
from PIL import Image as Pillow

from pipeline.core.errors import ProcropError, SampleError
from pipeline.core.json_types import Json
from pipeline.core.processor import usable_cores
from pipeline.core.resources import bundled
from stages.backends.base.backend_settings import BackendSettings
from stages.backends.base.devices import pick_device
from stages.backends.base.plugin_models import PluginSettings
from stages.backends.base.protocols import Declined, Encoded, Floats, Image, Model, PaintRequest, Prompts
from stages.backends.catalogue import Measurement, remember_measurement
from stages.backends.registry import Models, ModelSettings, models_of
from stages.backends.scorers.perceiving import score_images

PHOTO = "seeding.jpg"  # of the bundled photographs: one subject, and scenery around it


@dataclass(frozen=True)
class Trial:
    """The result of one model.

    Args:
        role: that the model plays.
        name: of the model.
        ok: whether its sample was valid.
        found: the sample or the error in words.
        first_s: seconds of the first sample, with loading.
        rate: samples a second after that.
        memory_mib: peak on the GPU, or growth of the process.
    """

    role: str
    name: str
    ok: bool
    found: str
    first_s: float = 0.0
    rate: float = 0.0
    memory_mib: float = 0.0

    def text(self) -> str:
        """One line for a terminal."""
        text = f"{self.name}: {self.found}"
        if self.ok:
            text += f"; loaded in {self.first_s:.1f} s, then {self.rate:.3g} a second, {self.memory_mib:.0f} MiB"
        return f"{'ok  ' if self.ok else 'BAD '} {self.role:<16} {text}"

    def as_json(self) -> dict[str, Json]:
        """A row of ``doctor --json``."""
        return asdict(self)


def try_models(settings: ModelSettings, side: int, without: Collection[str] = ()) -> Iterator[Trial]:
    """One trial a role, each as soon as it is done.

    Args:
        settings: of the models.
        side: long side in pixels of the canvas that the out-painter paints.
        without: roles that are not tried, because files of their models are missing.
    """
    built = models_of(settings)
    with Pillow.open(bundled("assets") / "photos" / PHOTO) as photo:
        photo.thumbnail((side, side))
        picture = np.asarray(photo.convert("RGB"))
    for role, make_sample in sample_makers(built, picture, side).items():
        if role in without:
            continue
        model = getattr(built, role)
        yield _tried(role, settings.of_role(role), model, make_sample)


def sample_makers(models: Models, picture: Image, side: int) -> dict[str, Callable[[], str]]:
    """What makes and describes a sample of each role; each raises ValueError for one that is not valid."""
    height, width = picture.shape[:2]
    box = np.array([[0, 0, width, height], [width // 4, height // 4, width // 2, height // 2]], np.float32)
    samples: dict[str, Callable[[], str]] = {
        "captioner": lambda: _prompt(models.captioner.caption([picture], ["a title"])[0]),
        "segmenter": lambda: _in_range("mask", models.segmenter.segment([picture])[0], picture.shape[:2], 1.0),
        "encoder": lambda: _features(models.encoder.encode([picture])[0]),
        "scorer": lambda: _in_range("scores", score_images(models.scorer, [picture], [box])[0], (2,), 10.0),
    }
    if models.faces is not None:
        faces = models.faces
        samples["faces"] = lambda: f"{len(faces.detect([picture])[0])} faces"
    regions = None
    if models.composer is not None:
        composer = models.composer
        regions = np.ones(picture.shape[:2], np.int32)  # so that a failing composer does not fail the out-painter, too
        samples["composer"] = lambda: f"{int(composer.regions([picture])[0].max())} regions"
    half = np.asarray(Pillow.fromarray(picture).resize((max(8, width // 2), max(8, height // 2))))
    place = (width // 4, height // 4, width // 4 + half.shape[1], height // 4 + half.shape[0])
    request = PaintRequest(half, None, place, (width, height), 1, "a meadow of wild flowers", "text", regions)
    samples["outpainter"] = lambda: _canvas(models.outpainter.paint([request])[0], (height, width, 3))
    return samples


def _tried(role: str, settings: BackendSettings, model: Model, make_sample: Callable[[], str]) -> Trial:
    try:
        digest = model.digest
        cuda = _peak_memory(settings)
        before, started = psutil.Process().memory_info().rss, time.perf_counter()
        make_sample()
        first, started = time.perf_counter() - started, time.perf_counter()
        found = make_sample()
        rate = 1 / max(1e-6, time.perf_counter() - started)
    except (ProcropError, SampleError, ImportError, ValueError, RuntimeError) as error:
        return Trial(role, model.name, False, " ".join(str(error).split()) or type(error).__name__)
    except Exception as error:
        if not isinstance(settings, PluginSettings):
            raise
        return Trial(role, model.name, False, " ".join(f"{type(error).__name__}: {error}".split()))
    grown = (psutil.Process().memory_info().rss - before) / 2**20
    memory = cuda() if cuda else max(0.0, grown)
    device = pick_device(settings.runs_on)
    measured = Measurement(
        rate=round(rate, 4),
        memory_mib=round(memory),
        device=device,
        name=model.name,
        digest=digest,
        cores=usable_cores(),
    )
    remember_measurement(f"{role}/{settings.kind}", measured)
    return Trial(role, model.name, True, found, first, rate, memory)


def _peak_memory(settings: BackendSettings) -> Callable[[], float] | None:
    """A function that gives the peak MiB on the model's CUDA device from now on; None for the CPU."""
    device = pick_device(settings.runs_on)
    if device == "cpu":
        return None
    torch.cuda.reset_peak_memory_stats(device)
    return lambda: float(torch.cuda.max_memory_allocated(device)) / 2**20


def _prompt(prompts: Prompts) -> str:
    return f"'{prompts.inside[:60]}'"


def _in_range(what: str, values: Floats, shape: tuple[int, ...], most: float) -> str:
    if values.shape != shape or not np.isfinite(values).all() or values.min() < 0 or values.max() > most:
        raise ValueError(
            f"{what} of shape {values.shape} in {values.min()}..{values.max()}, want {shape} in 0..{most:g}"
        )
    return f"{what} in {values.min():.2f}..{values.max():.2f}"


def _features(encoded: Encoded) -> str:
    length = float(np.linalg.norm(encoded.vector))
    if not np.isfinite(encoded.tokens).all() or abs(length - 1) > 1e-3:
        raise ValueError(f"a vector of length {length}, want 1, and finite tokens")
    return f"vector of {len(encoded.vector)}, {len(encoded.tokens)} tokens of {encoded.tokens.shape[1]}"


def _canvas(canvas: Image | Declined, shape: tuple[int, int, int]) -> str:
    if isinstance(canvas, Declined):
        return f"a canvas, declined as {canvas.reason}"
    if canvas.shape != shape or canvas.dtype != np.uint8:
        raise ValueError(f"a canvas of {canvas.shape} {canvas.dtype}, want {shape} uint8")
    if canvas.std() < 1:
        raise ValueError("a canvas of one colour: half precision may have overflowed; try dtype bfloat16 or float32")
    return f"a canvas of {shape[1]} x {shape[0]}"
