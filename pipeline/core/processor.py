"""What this process may use of the processor, and how its threads wait. Imports nothing heavy: it is asked before torch loads."""

import os
import platform
from collections.abc import Mapping, MutableMapping
from functools import cache
from pathlib import Path

from pipeline.core.errors import ModelError

CGROUP = Path("/sys/fs/cgroup")
CPUINFO = Path("/proc/cpuinfo")
PRECISIONS = ("auto", "fp32", "bf16")
# Instructions for products of bf16, by the names that Linux gives them on x86 and on ARM.
# Vector extensions by which libraries choose their code, on x86 and on ARM, and variables that keep them from some.
VECTORS = (
    "sse4_2", "avx", "avx2", "fma", "avx512f", "avx512bw", "avx512_vnni", "avx_vnni", "avx512_bf16", "avx512_fp16",
    "amx_int8", "amx_bf16", "asimd", "asimddp", "i8mm", "sve", "sve2", "bf16",
)  # fmt: skip
LIMITS = ("ATEN_CPU_CAPABILITY", "NPY_DISABLE_CPU_FEATURES", "OPENBLAS_CORETYPE", "ONEDNN_MAX_CPU_ISA", "MKL_CBWR")
BF16_FLAGS = {"avx512_bf16", "amx_bf16", "avx_ne_convert", "bf16"}


def usable_cores(cgroup: Path = CGROUP) -> int:
    """Processor cores that this process may use, at least 1: its affinity, or fewer where a control group limits its time."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = _time_limit(cgroup)
    return max(1, min(affinity, affinity if limit is None else int(limit)))


def _time_limit(cgroup: Path) -> float | None:
    """Cores' worth of time that the control group (version 2, then 1) grants; None for no limit."""
    for quota, period in (("cpu.max", None), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            words = (cgroup / quota).read_text().split()
            words += (cgroup / period).read_text().split() if period else []
            microseconds, every = float(words[0]), float(words[1])
        except (OSError, ValueError, IndexError):  # no such file, or "max": unlimited
            continue
        if microseconds > 0 and every > 0:
            return microseconds / every
    return None


def set_thread_defaults(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set how OpenMP's threads wait and how many there are, unless the user did; has no effect once torch is loaded.

    Threads that wait actively use up the cores that another process needs: two croppers at once took three times as long.
    A process starts no more threads than it may use cores: OpenMP sees the affinity, but not a control group's limit.
    onnxruntime from 1.31 on starts a thread on import that sends telemetry; it starts none, so nothing is sent and no such thread
    is left when the process ends.
    """
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    environment.setdefault("ORT_DISABLE_TELEMETRY", "1")
    environment.setdefault("OMP_NUM_THREADS", str(usable_cores()))


def thread_count(environment: Mapping[str, str] = os.environ) -> int:
    """Threads that a model may compute with: the number set for OpenMP, else the cores that this process may use."""
    threads = environment.get("OMP_NUM_THREADS", "")
    return int(threads) if threads.isdecimal() and int(threads) else usable_cores()


@cache
def has_bf16(cpuinfo: Path = CPUINFO) -> bool:
    """Whether the processor has instructions for bf16. Without them torch emulates it, which is slower than fp32.

    False where the operating system does not say.
    """
    return not BF16_FLAGS.isdisjoint(_described(cpuinfo, ("flags", "features")))


@cache
def processor_family(cpuinfo: Path = CPUINFO) -> str:
    """Architecture, vendor and vector extensions: what numpy, torch, onnxruntime and OpenBLAS choose their code by.

    One family and the same versions compute the same bits; ``LIMITS`` of the environment belong to it, because they choose, too.
    """
    flags = _described(cpuinfo, ("flags", "features"))
    vendor = _described(cpuinfo, ("vendor_id", "cpu implementer"))[:1]
    limits = [f"{name}={os.environ[name]}" for name in LIMITS if os.environ.get(name)]
    return " ".join([platform.machine(), *vendor, *(name for name in VECTORS if name in flags), *limits])


def _described(cpuinfo: Path, fields: tuple[str, ...]) -> list[str]:
    """The words of the first of some fields that Linux gives of the first processor; none where the system does not say."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return []
    return next((line.partition(":")[2].split() for line in lines if line.lower().startswith(fields)), [])


def device_for(wanted: str, gpus: int, automatic: str = "") -> str:
    """A torch device for ``wanted``: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Args:
        wanted: what the user gave.
        gpus: how many CUDA devices torch sees.
        automatic: the device of ``auto``; empty: ``cuda`` where there is one, else ``cpu``.

    Raises ModelError for a device that this machine does not have, or that is none.
    """
    if wanted == "auto":
        return automatic or ("cuda" if gpus else "cpu")
    kind, colon, number = wanted.partition(":")
    if kind not in ("cpu", "cuda") or (colon and not number.isdecimal()):
        raise ModelError(f"device '{wanted}': give auto, cpu, cuda or cuda:N")
    if kind == "cuda" and int(number or 0) >= gpus:
        raise ModelError(f"device '{wanted}' is not there: torch sees {gpus} CUDA devices; use cpu or auto")
    return wanted


def precision_for(wanted: str, device: str, cpuinfo: Path = CPUINFO) -> str:
    """``fp32`` or ``bf16`` for ``wanted``, which may be ``auto``: bf16 on a GPU, or on a processor that has it."""
    if wanted != "auto":
        return wanted
    return "bf16" if device.startswith("cuda") or has_bf16(cpuinfo) else "fp32"


def slow_precision(precision: str, device: str, cpuinfo: Path = CPUINFO) -> str:
    """A warning, in one line, for a precision that is slower than fp32 on ``device``; empty where there is none."""
    if precision != "bf16" or device != "cpu" or has_bf16(cpuinfo):
        return ""
    return "precision bf16: this processor has no instructions for it, so fp32 is faster (measured: 2.2 times)"
