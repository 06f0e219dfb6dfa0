"""What one worker of a stage asks of a cluster. It shapes where work is done, never what comes out, so no receipt names it."""

from typing import Annotated

from pydantic import Field

from pipeline.core.settings import Settings


class Needs(Settings):
    """Resources of one actor, in Ray's terms.

    num_gpus: may be a fraction, so that several share a GPU; unset: 1 where a model of the stage may use a GPU and the
    cluster has some, else 0. memory: bytes, 0 for no reservation. custom: resources that nodes declare, by name. most: actors
    at a time, 0 for as many as the cluster has room for; give a number to let a cluster that scales itself grow to it.
    restarts: how often Ray starts a dead actor again before the command makes a new one.
    """

    num_cpus: Annotated[float, Field(ge=0)] = 1
    num_gpus: Annotated[float, Field(ge=0)] | None = None
    memory: Annotated[int, Field(ge=0)] = 0
    custom: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    most: Annotated[int, Field(ge=0)] = 0
    restarts: Annotated[int, Field(ge=0)] = 3

    def of_cluster(self) -> dict[str, float]:
        """The amounts by the names that a cluster lists its resources under; none that is 0."""
        asked = {"CPU": self.num_cpus, "GPU": self.num_gpus or 0, "memory": float(self.memory), **self.custom}
        return {name: amount for name, amount in asked.items() if amount}
