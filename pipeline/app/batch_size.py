"""The out-painter's batch: found once from free memory, then kept in ``plan.json``, for it decides the last bits of canvases."""

from typing import Any

from pipeline.app.recipe_for_run import AUTO, with_batch
from pipeline.app.session import Session


def settled(session: Session, names: list[str], say: Any) -> Session:
    """The session with its batch found and recorded, when it is about to paint and the recipe leaves it open."""
    painter: Any = session.recipe.models.outpainter
    if "outpaint" not in names or getattr(painter, "batch", 1) != AUTO:
        return session
    from concurrent.futures import ProcessPoolExecutor
    from dataclasses import replace
    from multiprocessing import get_context

    from pipeline.runs.plan import store_plan
    from stages.backends.outpainters.diffusion.batch_size import find_batch
    from stages.recipe import stages_of

    # In a process of its own: what it loads onto the device must be gone before the workers start.
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        batch = pool.submit(find_batch, painter).result()
    say(f"outpaint: {batch} canvases fit the device together; kept in plan.json")
    recipe = with_batch(session.recipe, batch)
    session.run.plan = replace(session.run.plan, config=recipe.model_dump(mode="json"))
    store_plan(session.run.store, session.run.plan)
    return Session(recipe, session.run, stages_of(recipe))
