"""Checks of the machine for ``doctor``: versions, devices, memory, and how fast the disk of the run directory is."""

import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.processor import usable_cores

if TYPE_CHECKING:
    from stages.backends.base.plugin_code import PluginCode

LEAST = {"torch": "2.11", "diffusers": "0.35", "transformers": "4.56"}
MODELS_EXTRA = ("segment-anything", "timm")
ABSENT = "not installed: the embedded models do not need it"
PROBE_MB = 64


@dataclass(frozen=True)
class Check:
    """One check. what: the thing checked; found: its version or state; ok: False if it would stop a run."""

    what: str
    found: str
    ok: bool = True

    def text(self) -> str:
        """One line for the terminal."""
        return f"{'ok  ' if self.ok else 'BAD '} {self.what:<16} {self.found}"

    def as_json(self) -> dict[str, str | bool]:
        """An entry of ``doctor --json``."""
        return asdict(self)


def check_machine(work: str) -> list[Check]:
    """All checks, in the order that they are printed. work: run directory, or where it would be."""
    checks = [Check("python", platform.python_version(), sys.version_info >= (3, 11))]
    checks += [_package(name, least) for name, least in LEAST.items()]
    checks.append(check_torchvision(_version("torchvision"), _import_torchvision))
    checks += [Check(name, _version(name) or f"{ABSENT} (extra 'models')") for name in MODELS_EXTRA]
    checks.append(Check("xformers", _version("xformers") or ABSENT))
    checks += _devices()
    checks.append(_memory())
    return [*checks, *_disk(work)]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _package(name: str, least: str) -> Check:
    installed = _version(name)
    if installed and _numbers(installed) >= _numbers(least):
        return Check(name, installed)
    return Check(name, f"{installed or 'not installed'}: want {least} or newer", False)


def check_torchvision(installed: str, load: Callable[[], object]) -> Check:
    """Whether torchvision is of the build that torch is of.

    A torchvision built for CUDA cannot be imported beside a torch built for processors, nor the reverse, and then transformers
    and diffusers cannot be imported either.

    Args:
        installed: version of torchvision; empty when it is not installed.
        load: imports it.
    """
    if not installed:
        return Check("torchvision", f"{ABSENT} (extra 'models')")
    try:
        load()
    except (ImportError, RuntimeError, OSError) as error:  # for example "operator torchvision::nms does not exist"
        problem = " ".join(str(error).split())[:100]
        found = (
            f"{installed} does not fit torch {_version('torch')} ({problem}): install both from one source "
            "('pip install --force-reinstall torch torchvision'), or 'pip uninstall torchvision'"
        )
        return Check("torchvision", found, False)
    return Check("torchvision", installed)


def _import_torchvision() -> object:
    import torchvision

    return torchvision.ops.nms


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("+")[0].split(".")[:2] if part.isdigit())


def _devices() -> list[Check]:
    import torch

    if not torch.cuda.is_available():
        return [
            Check(
                "CUDA", "no device: everything runs on the processor, which is fast enough only for the embedded models"
            )
        ]
    lines = []
    for number in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(number)
        name = torch.cuda.get_device_name(number)
        lines.append(Check(f"cuda:{number}", f"{name}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free"))
    return lines


def check_gpu_roles(roles: Collection[str], *, has_gpu: bool) -> list[Check]:
    """Whether a recipe whose models are made for a GPU finds one. roles: of these models; empty for none."""
    if not roles or has_gpu:
        return []
    found = f"none, but this recipe is for a GPU ({', '.join(sorted(roles))}): run it on a machine with one, or choose "
    # A scorer or an encoder of this size is slow on a processor; a painter takes minutes a canvas.
    return [Check("GPU", f"{found}embedded models ('procrop-data models')", "outpainter" not in roles)]


def check_any_checkpoint(outpainter: str) -> list[Check]:
    """What nobody checks of a checkpoint that the recipe takes as diffusers knows it. outpainter: its kind."""
    unknown = (
        "not checked, see the checkpoint's card: whether it is made for in-painting, whether side, num_inference_steps, "
        "guidance_scale and strength suit it, and whether it reads negative prompts; what its class does not take is left out"
    )
    return [Check("auto", f"models.outpainter: {unknown}")] if outpainter == "auto" else []


def check_plugins(plugins: "Mapping[str, PluginCode]") -> list[Check]:
    """Package, version, address and digest of the code of other packages that a recipe runs, by the key that names it."""
    return [Check("plug-in", f"{key}: {code.text()}") for key, code in plugins.items()]


def has_gpu() -> bool:
    """Whether torch finds a CUDA device."""
    import torch

    return bool(torch.cuda.is_available())


def _memory() -> Check:
    import psutil

    free = psutil.virtual_memory().available / 2**30
    return Check("memory", f"{free:.1f} GiB free, {usable_cores()} of {os.cpu_count()} cores usable", free > 2)


def _disk(work: str) -> list[Check]:
    if "://" in work:
        return [Check("disk", f"{work} is remote: not measured")]
    import shutil

    home = Path(work).absolute()
    while not home.exists():
        home = home.parent
    free = shutil.disk_usage(home).free / 1e9
    block, started = os.urandom(1_000_000), time.perf_counter()
    with tempfile.TemporaryFile(dir=home) as file:
        for _ in range(PROBE_MB):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    rate = PROBE_MB / (time.perf_counter() - started)
    return [Check("disk", f"{free:.0f} GB free, {rate:.0f} MB/s written and flushed", free > 1)]
