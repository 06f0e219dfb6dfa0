"""Rates of a sample: of a worker that has loaded its models, and of the whole chain in a folder that goes away."""

from types import SimpleNamespace

import pytest

from pipeline.app.measured_sample import rate_of
from pipeline.core.errors import UsageError


def receipt(n_in: int, seconds: float, size: int = 100):
    return SimpleNamespace(n_in=n_in, seconds={"compute": seconds}, outputs={"a.tar": {"size": size}})


def test_the_start_of_a_worker_is_not_in_the_rate():
    assert rate_of([receipt(2, 12.0), receipt(2, 2.0), receipt(0, 0.1)]) == (1.0, 50.0)


def test_a_sample_without_canvases_says_so():
    with pytest.raises(UsageError, match="no canvas came so far"):
        rate_of([receipt(0, 0.0)])
