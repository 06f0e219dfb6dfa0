"""Resources that one actor of a stage requests from a cluster. They never change an output, so no receipt names them."""

from typing import Annotated

from pydantic import Field

from pipeline.core.settings import Settings


class ActorResources(Settings):
    """Resources of one actor, in Ray's terms.

    Args:
        num_cpus: processors; may be a fraction.
        num_gpus: may be a fraction, so that several actors share a GPU; unset: 1 where a model of the stage may use a GPU and
            the cluster has one, else 0.
        memory: bytes; 0 reserves none.
        custom: amounts of resources that nodes declare, by name.
        most: actors at a time; 0 for as many as fit. A number lets an autoscaling cluster grow to it.
        restarts: how often Ray restarts a dead actor before the command starts a new one.
    """

    num_cpus: Annotated[float, Field(ge=0)] = 1
    num_gpus: Annotated[float, Field(ge=0)] | None = None
    memory: Annotated[int, Field(ge=0)] = 0
    custom: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    most: Annotated[int, Field(ge=0)] = 0
    restarts: Annotated[int, Field(ge=0)] = 3

    def as_amounts(self) -> dict[str, float]:
        """Amounts by Ray's names of resources, without those that are 0."""
        amounts = {"CPU": self.num_cpus, "GPU": self.num_gpus or 0, "memory": float(self.memory), **self.custom}
        return {name: amount for name, amount in amounts.items() if amount}
