"""Cores, threads and precision of the machine at hand, from files that a test writes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.core.errors import ModelError
from pipeline.core.processor import (
    device_for,
    has_bf16,
    precision_for,
    processor_family,
    set_thread_defaults,
    slow_precision,
    usable_cores,
)

AFFINITY = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, AFFINITY),
        ({"cpu.max": "max 100000\n"}, AFFINITY),
        ({"cpu.max": "100000 100000\n"}, 1),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "6400000 100000\n"}, AFFINITY),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, AFFINITY),
        ({"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1),
        ({"cpu.max": "nonsense"}, AFFINITY),
    ],
)
def test_cores_are_the_affinity_or_what_a_group_grants(tmp_path, files, cores):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert usable_cores(tmp_path) == cores


def test_the_user_decides_how_threads_wait():
    mine = {"OMP_WAIT_POLICY": "ACTIVE"}
    set_thread_defaults(mine)
    cores = str(usable_cores())
    assert mine == {"OMP_WAIT_POLICY": "ACTIVE", "OMP_NUM_THREADS": cores, "ORT_DISABLE_TELEMETRY": "1"}


def test_a_family_is_architecture_vendor_and_vectors(tmp_path, monkeypatch):
    monkeypatch.delenv("ATEN_CPU_CAPABILITY", raising=False)
    for name, flags in (("new", "fpu avx2 fma avx512f"), ("old", "fpu sse4_2")):
        (tmp_path / name).write_text(f"processor : 0\nvendor_id : AuthenticAMD\nflags : {flags}\n\nprocessor : 1\n")
    new, old = processor_family(tmp_path / "new"), processor_family(tmp_path / "old")
    assert new.endswith("AuthenticAMD avx2 fma avx512f") and old.endswith("AuthenticAMD sse4_2")
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    processor_family.cache_clear()
    assert processor_family(tmp_path / "new") == f"{new} ATEN_CPU_CAPABILITY=default"
    processor_family.cache_clear()


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted as Linux lists them")
def test_onnxruntime_starts_no_thread_for_telemetry():
    code = (
        "import os, numpy, pipeline; count = lambda: len(os.listdir('/proc/self/task')); before = count()"
        "; import onnxruntime; assert count() == before"
    )
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


@pytest.mark.parametrize("module", ["pipeline.core.errors", "stages.recipe", "procrop_model", "procrop_model.cropper"])
def test_threads_wait_passively_before_torch_loads(module):
    """Whichever of our packages is imported first; libgomp reads the variable when it is loaded."""
    code = (
        "import sys, os; log = []; sys.addaudithook(lambda event, arguments: log.append(os.environ.get('OMP_WAIT_POLICY'))"
        " if event == 'import' and arguments[0] == 'torch' else None)"
        f"; import {module}; import torch; assert set(log) == {{'PASSIVE'}}, log"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("processor : 0\nflags\t\t: fpu sse avx2 avx512_bf16\n", True),
        ("Features : fp asimd bf16 i8mm\n", True),
        ("flags : fpu avx2 avx512f\n", False),
        ("", False),
    ],
)
def test_bf16_is_what_the_processor_says(tmp_path, text, known):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(text)
    assert has_bf16(cpuinfo) is known
    assert precision_for("auto", "cpu", cpuinfo) == ("bf16" if known else "fp32")
    assert precision_for("auto", "cuda:0", cpuinfo) == "bf16"
    assert precision_for("fp32", "cuda:0", cpuinfo) == "fp32"
    assert bool(slow_precision("bf16", "cpu", cpuinfo)) is not known
    assert slow_precision("fp32", "cpu", cpuinfo) == slow_precision("bf16", "cuda", cpuinfo) == ""


def test_a_system_that_says_nothing_has_no_bf16(tmp_path):
    assert not has_bf16(tmp_path / "absent")


@pytest.mark.parametrize(
    ("wanted", "gpus", "device"),
    [("auto", 0, "cpu"), ("auto", 2, "cuda"), ("cpu", 0, "cpu"), ("cuda", 1, "cuda"), ("cuda:1", 2, "cuda:1")],
)
def test_a_device_is_one_that_is_there(wanted, gpus, device):
    assert device_for(wanted, gpus) == device


@pytest.mark.parametrize("wrong", ["cuda:7", "cuda", "cuda:x", "cuda:", "tpu", "cpu:1x"])
def test_another_device_is_one_line(wrong):
    with pytest.raises(ModelError, match=r"is not there: torch sees 0 CUDA devices|give auto, cpu, cuda or cuda:N"):
        device_for(wrong, 0)
