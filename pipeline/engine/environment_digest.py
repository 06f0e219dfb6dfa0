"""What a process computes with: digests of the packages' source files, versions of the libraries that change pixels or vectors, the
kind of processor, models.

Machines of a cluster or tasks of an array that differ in it would write different shards, so they are compared before any work.
Receipts record the part that a machine decides (``census``).
"""

import hashlib
import os
import platform
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pipeline.core.errors import ModelError
from pipeline.core.processor import processor_family
from pipeline.core.stage import Stage
from pipeline.runs.receipts import difference

PACKAGES = ("pipeline", "stages", "procrop_model")
LIBRARIES = (
    "numpy", "pillow", "torch", "diffusers", "transformers", "onnxruntime", "scipy", "faiss-cpu", "pyarrow", "timm",
)  # fmt: skip
PROCESSOR = "processor"
MIXED = "PROCROP_MIXED_PROCESSORS"  # set where processors of several families may share a run
MISSING = "missing"
SHOWN = 5


def environment_digest(stage: Stage) -> dict[str, str]:
    """Source file, library or model -> its digest or version; a model that is missing has the reason in its place."""
    return {**_sources(), **census(), **_models(stage)}


def census() -> dict[str, str]:
    """Library -> its version, and ``processor``: its family, as the libraries choose their code by it."""
    return {**_libraries(), PROCESSOR: processor_family()}


@cache
def _sources() -> dict[str, str]:
    root = Path(__file__).resolve().parents[2]
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()[:12]
        for package in PACKAGES
        for path in sorted((root / package).rglob("*.py"))
    }


@cache
def _libraries() -> dict[str, str]:
    versions = {"python": ".".join(platform.python_version_tuple()[:2])}
    for name in LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = MISSING
    return versions


def _models(stage: Stage) -> dict[str, str]:
    try:
        return {f"model of {stage.name}: {role}": digest for role, digest in stage.digests().items()}
    except ModelError as error:
        return {f"model of {stage.name}": f"{MISSING} ({error})"}


def environment_difference(ours: Mapping[str, str], theirs: Mapping[str, str]) -> str:
    """The first ``SHOWN`` differences between two environments, in one line; empty when there is none.

    Processors do not count where ``MIXED`` is set.
    """
    ignored = {PROCESSOR} if os.environ.get(MIXED) else set()
    mine, other = ({name: value for name, value in each.items() if name not in ignored} for each in (ours, theirs))
    lines = difference(mine, other)
    more = f"; and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
    return "; ".join(lines[:SHOWN]) + more
