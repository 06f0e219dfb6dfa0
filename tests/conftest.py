"""Settings of all tests: threads, property tests, and skips that fail where nothing may be skipped.

The environment is set before anything imports torch, and the processes that tests start inherit it.
"""

import gc
import os
from collections.abc import Generator

import pytest
from hypothesis import settings

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # idle OpenMP threads sleep; spinning, they take a core from others
os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # two test workers fill two cores; sums do not depend on the machine's cores

# Machines are shared, so no property test fails for being slow once.
settings.register_profile("shared-machine", deadline=None, derandomize=True)
settings.load_profile("shared-machine")

FORBID_SKIPS = os.environ.get("PROCROP_FORBID_SKIPS", "") not in ("", "0")  # read once: tests change the environment
CI_LACKS = (  # reasons to skip that count even then: CI has neither a GPU nor data that may not be redistributed
    "needs a CUDA device",
    "FCDB's own files are not beside this checkout",
    "exiftool is not on this machine",
    "LAION's published heads are not on this machine",
    "libjpeg-turbo's library is not on this machine",
)


def pytest_collection_finish() -> None:
    """Keep the modules that are loaded by now out of garbage collection: they cost half a second each time, which runs pay
    at every stage.
    """
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """Let the interpreter collect them when it ends: libraries report what is left then as leaked."""
    gc.unfreeze()


def _forbid_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """A skip of what this machine should be able to run becomes a failure."""
    if FORBID_SKIPS and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not any(lack in reason for lack in CI_LACKS):
            report.outcome = "failed"
            report.longrepr = f"skipped although PROCROP_FORBID_SKIPS is set: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _forbid_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield  # of a file that skips itself: pytest.importorskip
    _forbid_skip(report)
    return report
