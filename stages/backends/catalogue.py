"""Every backend that a recipe can name, read from the registry, with what this machine knows of it."""

import contextlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from pipeline.core.errors import ModelError
from stages.backends.base.checkpoint_files import files_of, locate
from stages.backends.outpainters.diffusion.families import FAMILIES
from stages.backends.registry import ModelSettings

# About how many GB the published checkpoints are; no hub was reached to check. Where a checkpoint is here, its files are measured.
PUBLISHED_GB = {
    "blip": 1.9, "blip2": 31.0, "florence": 1.6, "laion": 1.7, "siglip": 3.5, "nima": 0.06, "sam": 0.4, "dinov2": 0.35,
    "clip": 1.7, "small-diffusion": 0.03, **{kind: family.size_gb for kind, family in FAMILIES.items()},
}  # fmt: skip
NEEDS: dict[str, dict[str, Any]] = {
    "chat": {"base_url": "http://localhost:8000/v1", "model": "any"},
    "ensemble": {"members": [{"kind": "composition"}]},
    "small-diffusion": {"model": "a folder of train-outpainter"},
}


@dataclass(frozen=True)
class Backend:
    """A row of ``procrop-data models``. model: hub id or file by default, empty for what is in the package."""

    role: str
    kind: str
    model: str
    licence: str
    size_gb: float
    is_here: bool

    @property
    def address(self) -> str:
        """What measurements are kept under."""
        return f"{self.role}/{self.kind}"

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self)


def all_backends() -> list[Backend]:
    """By role, in the order of the registry."""
    found = []
    for role, field in ModelSettings.model_fields.items():
        for settings in get_args(field.annotation) or (field.annotation,):
            for kind in get_args(settings.model_fields["kind"].annotation):
                if kind not in ("off", "none"):
                    found.append(_backend(role, kind, settings))
    return found


def _backend(role: str, kind: str, settings: Any) -> Backend:
    chosen = settings.model_validate({"kind": kind, **NEEDS.get(kind, {})})
    model = str(getattr(chosen, "model", "")) if kind != "chat" else ""
    needed = [model] if model and kind != "nima" else []
    needed += [str(path) for path in (getattr(chosen, "head", ""), getattr(chosen, "controlnet", "")) if path]
    licence = str(getattr(chosen, "licence", "") or chosen.build().licence)
    size = sum(_size_gb(path) for path in needed)
    return Backend(
        role, kind, " + ".join(needed), licence, size or PUBLISHED_GB.get(kind, 0.0), all(map(is_here, needed))
    )


def is_here(model: str) -> bool:
    """Whether a checkpoint is on this machine."""
    with contextlib.suppress(ModelError):
        locate(model)
        return True
    return False


def _size_gb(model: str) -> float:
    return sum(path.stat().st_size for path in files_of(locate(model))) / 1e9 if is_here(model) else 0.0


def _measured_path() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "procrop" / "measured.json"


def measurements() -> dict[str, dict[str, Any]]:
    """What trials on this machine have measured, by address."""
    with contextlib.suppress(OSError, ValueError):
        found: dict[str, dict[str, Any]] = json.loads(_measured_path().read_text(encoding="utf-8"))
        return found
    return {}


def remember(address: str, measured: dict[str, Any]) -> None:
    """Keep a measurement; a cache that cannot be written is none."""
    known = {**measurements(), address: measured}
    with contextlib.suppress(OSError):
        _measured_path().parent.mkdir(parents=True, exist_ok=True)
        _measured_path().write_text(json.dumps(known, indent=1), encoding="utf-8")
