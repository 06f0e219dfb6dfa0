"""The rules of conftest.py, tried on a small suite of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
SUITE = """
import os
import sys
import pytest

assert "torch" not in sys.modules

def test_threads():
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE" and os.environ["OMP_NUM_THREADS"] == "3"

def test_that_ci_can_run():
    pytest.skip("mounting is not permitted here")

def test_that_ci_cannot_run():
    pytest.skip("needs a CUDA device")

@pytest.mark.xfail
def test_that_is_known_to_fail():
    raise AssertionError
"""
MODULE = 'import pytest\npytest.importorskip("no_such_package")\n'


@pytest.mark.parametrize("forbid", [True, False])
def test_a_skip_fails_where_skips_are_forbidden(tmp_path, forbid):
    (tmp_path / "conftest.py").write_text((HERE / "conftest.py").read_text())
    (tmp_path / "test_some.py").write_text(SUITE)
    (tmp_path / "test_module.py").write_text(MODULE)
    kept = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rfEs", "--continue-on-collection-errors", "."],
        cwd=tmp_path, env={**kept, "OMP_NUM_THREADS": "3", "PROCROP_FORBID_SKIPS": str(int(forbid))},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    summary = run.stdout.splitlines()[-1]
    if forbid:
        assert run.returncode == 1 and "1 failed, 1 passed, 1 skipped, 1 xfailed, 1 error" in summary, run.stdout
    else:
        assert run.returncode == 0 and "1 passed, 3 skipped, 1 xfailed" in summary, run.stdout
