"""How many worker processes a command starts."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stages.recipe import Recipe


def worker_count(workers: int) -> int:
    """How many worker processes an option asks for; 0 means one a core that this process may use."""
    return (
        workers or len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else workers or os.cpu_count() or 1
    )


def workers_for(recipe: "Recipe", workers: int) -> int:
    """How many worker processes a command that makes data starts: by default one a GPU where the recipe's models use GPUs, for
    each loads its own weights, else one a core.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = (
        len([n for n in os.listdir("/dev") if n.startswith("nvidia") and n[6:].isdigit()])
        if recipe.models.gpu_roles
        else 0
    )
    if gpus and visible is not None:
        gpus = len([part for part in visible.split(",") if part.strip() and part.strip() != "-1"])
    return workers or gpus or worker_count(0)
