"""The processes of one training run, as ``accelerate launch`` or ``torchrun`` start them. A single process never waits."""

import os
from collections.abc import Iterable
from contextlib import AbstractContextManager

import torch
from accelerate import Accelerator


class Processes:
    """rank of count: this process among all; here: how many of them this machine has; main: whether it is the one that writes.

    Every method is called by all processes at the same point, and gives all of them the same.
    """

    def __init__(self, device: str) -> None:
        self.accelerator = Accelerator(cpu=device == "cpu")
        self.rank, self.count = self.accelerator.process_index, self.accelerator.num_processes
        self.here = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if self.count > 1 else 1
        self.main = self.accelerator.is_main_process

    def main_first(self) -> AbstractContextManager[None]:
        """What is done within, the main process does before the others: they find the files that it wrote."""
        waiting: AbstractContextManager[None] = self.accelerator.main_process_first()
        return waiting

    def wait(self) -> None:
        """Goes on when all are here."""
        self.accelerator.wait_for_everyone()

    def sums(self, values: Iterable[float]) -> list[float]:
        """Each value summed over the processes, in float64."""
        mine = [float(value) for value in values]
        if self.count == 1:
            return mine
        totals = torch.tensor(mine, dtype=torch.float64, device=self.accelerator.device)
        torch.distributed.all_reduce(totals)
        return [float(value) for value in totals.tolist()]

    def any(self, flag: bool) -> bool:
        """Whether it is true in one of them."""
        return self.sums([flag])[0] > 0

    def all_of(self, value: float) -> list[float]:
        """The value that each process has."""
        return self.sums(value if rank == self.rank else 0.0 for rank in range(self.count))


def end() -> None:
    """Leave the others, at the end of a program."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
