"""How many worker processes a command starts."""

import os
from typing import TYPE_CHECKING

from pipeline.core.processor import usable_cores

if TYPE_CHECKING:
    from stages.recipe import Recipe


def worker_count(workers: int) -> int:
    """How many worker processes an option sets; 0 means one for each core that this process may use."""
    return workers or usable_cores()


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
