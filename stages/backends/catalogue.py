"""Every backend that a recipe can name, read from the registry: licence, size, whether it is on this machine, measurements."""

import contextlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypedDict, get_args

from pipeline.core.json_types import Json, JsonObject
from stages.backends.base.backend_settings import BackendSettings
from stages.backends.base.checkpoint_files import files_of, locate
from stages.backends.base.plugin_code import BACKENDS, PluginCode, PluginError, installed_plugins
from stages.backends.needed_files import PUBLISHED_GB, files_of_backend, problem_of
from stages.backends.registry import ModelSettings

# Settings without a default, so that each kind can be built for the list.
REQUIRED: dict[str, JsonObject] = {
    "auto": {"model": "any checkpoint of in-painting", "num_inference_steps": 30, "guidance_scale": 5.0},
    "sdxl-controlnet-inpaint": {"controlnet": "a ControlNet of SDXL"},
    "chat": {"base_url": "http://localhost:8000/v1", "model": "any"},
    "ensemble": {"members": [{"kind": "composition"}]},
    "small-diffusion": {"model": "a folder of train-outpainter"},
}


class Measurement(TypedDict):
    """What ``procrop-data doctor`` measured of a backend on this machine.

    Attributes:
        rate: samples a second.
        memory_mib: peak memory on the GPU, or growth of the process.
        device: that it ran on.
        name, digest: of the model.
        cores: of this machine.
    """

    rate: float
    memory_mib: int
    device: str
    name: str
    digest: str
    cores: int | None


@dataclass(frozen=True)
class Backend:
    """A row of ``procrop-data models``.

    Args:
        role: that the backend plays.
        kind: its name in a recipe.
        model: hub ids or files by default; empty for a model that comes with the package.
        licence: of the weights.
        size_gb: of the weights, about.
        is_here: whether all files are on this machine.
    """

    role: str
    kind: str
    model: str
    licence: str
    size_gb: float
    is_here: bool

    @property
    def address(self) -> str:
        """Key of its measurement."""
        return f"{self.role}/{self.kind}"

    def as_json(self) -> dict[str, Json]:
        """A row of ``models --json``."""
        return asdict(self)


def all_backends() -> list[Backend]:
    """By role, in the order of the registry."""
    backends = []
    for role, field in ModelSettings.model_fields.items():
        for settings in get_args(field.annotation) or (field.annotation,):
            for kind in get_args(settings.model_fields["kind"].annotation):
                if kind not in ("off", "none"):
                    backends.append(_backend(role, kind, settings))
    return [*backends, *(_plugin(name, code) for name, code in installed_plugins(BACKENDS))]


def _plugin(name: str, code: PluginCode) -> Backend:
    """An entry point; one that cannot be used has the reason in place of its package."""
    role, _, kind = name.partition(".")
    package = f"plug-in {' '.join(code.distribution)} ({code.address})"
    try:
        if role not in ModelSettings.model_fields:
            raise PluginError(
                f"its name '{name}' is not ROLE.KIND with a role among {', '.join(ModelSettings.model_fields)}"
            )
        licence = str(getattr(code.load(), "licence", "")) or "see its package"
    except PluginError as error:
        return Backend(role, kind, f"{package}: {error}", "unknown", 0.0, False)
    return Backend(role, kind, package, licence, 0.0, True)


def _backend(role: str, kind: str, settings: type[BackendSettings]) -> Backend:
    chosen = settings.model_validate({"kind": kind, **REQUIRED.get(kind, {})})
    needed = [one.model for one in files_of_backend(chosen, role)]
    licence = str(getattr(chosen, "licence", "") or getattr(chosen.build(), "licence", ""))
    size = sum(_size_gb(path) for path in needed)
    return Backend(
        role, kind, " + ".join(needed), licence, size or PUBLISHED_GB.get(kind, 0.0), all(map(is_here, needed))
    )


def is_here(model: str) -> bool:
    """Whether a checkpoint is on this machine."""
    return not problem_of(model)


def _size_gb(model: str) -> float:
    return sum(path.stat().st_size for path in files_of(locate(model))) / 1e9 if is_here(model) else 0.0


def _measured_path() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "procrop" / "measured.json"


def measurements() -> dict[str, Measurement]:
    """All measurements of this machine, by ``Backend.address``."""
    with contextlib.suppress(OSError, ValueError):
        known: dict[str, Measurement] = json.loads(_measured_path().read_text(encoding="utf-8"))
        return known
    return {}


def remember_measurement(address: str, measured: Measurement) -> None:
    """Keep a measurement; without a writable cache folder it is dropped."""
    known = {**measurements(), address: measured}
    with contextlib.suppress(OSError):
        _measured_path().parent.mkdir(parents=True, exist_ok=True)
        _measured_path().write_text(json.dumps(known, indent=1), encoding="utf-8")
