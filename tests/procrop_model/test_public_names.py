"""The public names are those that docs/api.md lists, and each can be imported from the module named there."""

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import procrop_model

ROOT = Path(__file__).resolve().parents[2]
NAMES = re.findall(r"^\| `(\w+)` \| `([\w.]+)` \| .+ \|$", (ROOT / "docs" / "api.md").read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize(("name", "module"), NAMES)
def test_each_listed_name_can_be_imported(name: str, module: str) -> None:
    assert hasattr(import_module(module), name)


def test_every_name_of_the_package_is_listed() -> None:
    assert {name for name, module in NAMES if module == "procrop_model"} == set(procrop_model.__all__)
    assert len(NAMES) > 20


def test_the_names_that_readers_import_first() -> None:
    from procrop_model import Crop, Cropper, Limits

    assert [one.__name__ for one in (Crop, Cropper, Limits)] == ["Crop", "Cropper", "Limits"]


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Croper'"):
        _ = procrop_model.Croper


def test_the_package_loads_without_torch() -> None:
    code = "import sys, procrop_model, procrop_model.retrieval.database; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
