"""Environment variables of a worker process: how many threads compute in it, and how they wait."""

import os
from collections.abc import Mapping

# Read by OpenMP (torch, onnxruntime's build of it), MKL and OpenBLAS (numpy, scipy) when they are loaded.
THREAD_COUNTS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def worker_environment(parent: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Variables to set before a worker imports numpy or torch.

    A worker computes with one thread: there is one worker a core, and results do not depend on the number of workers. Its threads
    wait passively unless the user's own environment says otherwise: waiting threads then take no core from another worker.

    Args:
        parent: environment of the command that starts the worker.
    """
    return {**dict.fromkeys(THREAD_COUNTS, "1"), "OMP_WAIT_POLICY": parent.get("OMP_WAIT_POLICY", "PASSIVE")}
