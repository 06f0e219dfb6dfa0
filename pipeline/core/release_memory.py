"""Returning freed memory to the system: allocators keep what a step freed, which adds up in a process that runs many steps."""

import ctypes
import gc
import sys


def give_back() -> None:
    """Return free memory to the system: of Python, of Arrow, and of the C library where it has ``malloc_trim`` (glibc)."""
    gc.collect()
    if arrow := sys.modules.get("pyarrow"):
        arrow.default_memory_pool().release_unused()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
