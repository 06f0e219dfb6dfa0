"""Giving memory back. Allocators keep what a step freed, and the kept of all steps adds up in the process that outlives them."""

import ctypes
import gc
import sys


def give_back() -> None:
    """Return what is free to the system: of Python, of Arrow, and of the C library where it can be asked (glibc)."""
    gc.collect()
    if arrow := sys.modules.get("pyarrow"):
        arrow.default_memory_pool().release_unused()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
