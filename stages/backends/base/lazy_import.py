"""Engines that are imported when they are first used, in the worker that uses them.

A command that only looks at receipts, or a worker of a stage without a model, then never pays seconds for torch and diffusers.
"""

from importlib import import_module
from typing import Any


def engine(address: str) -> Any:
    """The object at ``module:name``; raises ImportError with what is missing."""
    module, _, name = address.partition(":")
    return getattr(import_module(module), name)
