"""Connecting to a Ray cluster, or starting one on this machine; each failure is an error of one line."""

import logging
import os
import socket
from collections.abc import Mapping
from functools import partial

import ray

from pipeline.core.errors import UsageError

ANSWER_S = 5.0
HTTP2_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"  # and empty settings
NICENESS = "RAY_worker_niceness"  # Ray's 15 lets every other process of a machine go first
STORE_BYTES = 80 << 20  # Ray's minimum; nothing of ours is stored there
_ELSEWHERE = "start one with 'ray start --head', or leave out --address to use this machine alone"


def connect_ray(address: str, workers: int) -> dict[str, float]:
    """Join the cluster at ``host:port`` or ``auto``; without one start Ray here, for ``workers`` processes. Gives the resources.

    The environment's RAY_ADDRESS, which ``ray job submit`` sets, counts as an address. Raises UsageError within 15
    seconds when nothing answers.
    """
    address = address or os.environ.get("RAY_ADDRESS", "")
    init = partial(ray.init, log_to_driver=False, logging_level=logging.ERROR)
    if not address or address == "local":
        os.environ.setdefault(NICENESS, "0")
        init("local", num_cpus=workers, include_dashboard=False, object_store_memory=STORE_BYTES)
        return dict(ray.cluster_resources())
    if "://" in address:
        raise UsageError(
            f"--address {address}: want 'auto' or host:port of a cluster that this machine is part of; from elsewhere use "
            "'ray job submit -- procrop-data run --executor ray'"
        )
    if address != "auto":
        _require_answer(address)
    try:
        init(address=address)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UsageError(f"--address {address}: {_last_line(error)}; {_ELSEWHERE}") from error
    return dict(ray.cluster_resources())


def _require_answer(address: str) -> None:
    """Raise UsageError unless a gRPC server answers, as the head of a cluster is one.

    ``ray.init`` itself tries for two minutes and then ends the process.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise UsageError(f"--address {address}: want 'auto' or host:port")
    try:
        with socket.create_connection((host, int(port)), ANSWER_S) as server:
            server.sendall(HTTP2_GREETING)
            answers = server.recv(9)[3:4] == b"\x04"  # the type of the frame: settings (RFC 9113, section 3.4)
    except OSError:
        answers = False
    if not answers:
        raise UsageError(f"--address {address}: no Ray cluster answers there; {_ELSEWHERE}")


def actors_that_fit(amounts: Mapping[str, float], cluster: Mapping[str, float]) -> int:
    """Number of actors with these resources that fit into a cluster; at least 1, since clusters can grow."""
    fits = [int(cluster.get(name, 0) / amount) for name, amount in amounts.items()]
    return max(1, min(fits, default=int(cluster.get("CPU", 1))))


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
