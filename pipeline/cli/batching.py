"""The out-painter's batch: found once from free memory, then kept in ``plan.json``, for it decides the last bits of canvases."""

from typing import TYPE_CHECKING, Any

from pipeline.cli.options import Session

if TYPE_CHECKING:
    from pipeline.plan import Plan
    from stages.recipe import Recipe

AUTO = "auto"


def with_kept_batch(recipe: "Recipe", plan: "Plan | None") -> "Recipe":
    """The recipe with the batch that its run has found before, as long as the out-painter is otherwise the same."""
    mine = recipe.models.outpainter.model_dump(mode="json")
    kept = dict(plan.config.get("models", {}).get("outpainter", {})) if plan else {}
    if mine.get("batch") != AUTO or {**kept, "batch": AUTO} != mine or kept["batch"] == AUTO:
        return recipe
    return _with_batch(recipe, int(kept["batch"]))


def settled(session: Session, names: list[str], say: Any) -> Session:
    """The session with its batch found and recorded, when it is about to paint and the recipe leaves it open."""
    painter: Any = session.recipe.models.outpainter
    if "outpaint" not in names or getattr(painter, "batch", 1) != AUTO:
        return session
    from concurrent.futures import ProcessPoolExecutor
    from dataclasses import replace
    from multiprocessing import get_context

    from pipeline.plan import record
    from stages.backends.diffusion.batch_size import find_batch
    from stages.recipe import stages_of

    # In a process of its own: what it loads onto the device must be gone before the workers start.
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        batch = pool.submit(find_batch, painter).result()
    say(f"outpaint: {batch} canvases fit the device together; kept in plan.json")
    recipe = _with_batch(session.recipe, batch)
    session.run.plan = replace(session.run.plan, config=recipe.model_dump(mode="json"))
    record(session.run.store, session.run.plan)
    return Session(recipe, session.run, stages_of(recipe))


def _with_batch(recipe: "Recipe", batch: int) -> "Recipe":
    body = recipe.model_dump(mode="json")
    body["models"]["outpainter"]["batch"] = batch
    return type(recipe).model_validate(body)
