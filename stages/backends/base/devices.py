"""Devices: choosing one, and halving a batch that its memory is too small for."""

import os
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from pipeline.core.errors import SampleError
from pipeline.core.processor import device_for
from pipeline.core.stage import WORKER_SLOT

Item = TypeVar("Item")
Result = TypeVar("Result")


def pick_device(device: str) -> str:
    """The torch device for a setting: ``auto`` deals the CUDA devices out to worker processes in turn, else gives the CPU.

    Raises ModelError for a device that this machine does not have.
    """
    count = torch.cuda.device_count()
    dealt = f"cuda:{int(os.environ.get(WORKER_SLOT, '0')) % count}" if count else "cpu"
    return device_for(device, count, dealt)


def halving(run: Callable[[Sequence[Item]], list[Result]], items: Sequence[Item]) -> list[Result]:
    """``run(items)``; when the device has no memory for so many, of its halves. Raises SampleError when one alone is too many."""
    try:
        return run(items)
    except torch.OutOfMemoryError as error:
        reason = str(error).split(". ")[0]
    # Outside the except clause the failed batch's tensors are no longer held by its traceback.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if len(items) == 1:
        raise SampleError("out_of_memory", f"the device has no memory for one sample: {reason}")
    half = len(items) // 2
    return halving(run, items[:half]) + halving(run, items[half:])


def in_batches(run: Callable[[Sequence[Item]], list[Result]], items: Sequence[Item], size: int) -> list[Result]:
    """Results of all items, ``size`` at a time, in order, with ``halving``."""
    out: list[Result] = []
    for start in range(0, len(items), size):
        out += halving(run, items[start : start + size])
    return out
