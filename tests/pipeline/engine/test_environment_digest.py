"""What a process computes with: which libraries and which kind of processor; what differs is told."""

import pytest

from pipeline.engine.environment_digest import MISSING, MIXED, census, environment_difference, environment_digest
from tests.faults.poison import Poisoned

OURS = {"numpy": "2.4.6", "processor": "x86_64 GenuineIntel avx2"}


def test_what_moves_pixels_or_vectors_is_in_it():
    found = census()
    wanted = {"python", "numpy", "pillow", "torch", "onnxruntime", "scipy", "faiss-cpu", "pyarrow", "processor"}
    assert wanted <= set(found)
    assert all(found[name] != MISSING for name in ("numpy", "torch", "onnxruntime", "scipy", "faiss-cpu", "pyarrow"))
    whole = environment_digest(Poisoned())
    assert found.items() <= whole.items() and "stages/outpaint.py" in whole


@pytest.mark.parametrize("name", ["numpy", "processor"])
def test_a_difference_is_one_line(name):
    assert environment_difference(OURS, {**OURS, name: "other"}) == f"{name}: {OURS[name]} -> other"


def test_mixed_processors_can_be_allowed(monkeypatch):
    monkeypatch.setenv(MIXED, "1")
    assert environment_difference(OURS, {**OURS, "processor": "other"}) == ""
    assert "numpy" in environment_difference(OURS, {**OURS, "numpy": "1"})
