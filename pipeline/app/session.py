"""A recipe bound to a run directory: what each command opens first."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.app.recipe_for_run import read_recipe, with_kept_batch
from pipeline.core.errors import UsageError

if TYPE_CHECKING:
    from pipeline.core.stage import Stage
    from pipeline.runs.plan import Plan
    from pipeline.runs.run_directory import Run
    from stages.recipe import Recipe


@dataclass(frozen=True)
class Session:
    """A recipe bound to a run directory. Nothing of it is loaded or written yet but ``plan.json``."""

    recipe: "Recipe"
    run: "Run"
    stages: list["Stage"]


def open_session(config: str, work: str, overrides: Sequence[str] | None, *, start: bool = True) -> Session:
    """Bind a recipe to a run directory. Raises UsageError and RefusedError.

    start: whether this command may begin a run; one that must find others' work there writes nothing where there is none.
    """
    from pipeline.runs.plan import Plan, freeze_plan, load_plan
    from pipeline.runs.run_directory import Run
    from pipeline.storage.open_store import open_store
    from stages.recipe import stages_of

    store = open_store(work)
    plan = load_plan(store)
    recipe = read_recipe(config, overrides or [], plan)
    body = recipe.model_dump(mode="json")
    frozen = freeze_plan(store, Plan(recipe.name, recipe.seed, recipe.work_shards, body), start=start)
    return Session(recipe, Run(store, frozen), stages_of(recipe))


def with_plan(session: Session, plan: "Plan") -> Session:
    """The session bound to a plan that was stored since, and to the batch that it holds."""
    from stages.recipe import stages_of

    session.run.plan = plan
    recipe = with_kept_batch(session.recipe, plan)
    return session if recipe is session.recipe else Session(recipe, session.run, stages_of(recipe))


def remember(session: Session) -> None:
    """Make the recipe of a command that succeeded the one that later commands use without ``--config``."""
    from dataclasses import replace

    from pipeline.runs.plan import store_plan

    session.run.plan = replace(session.run.plan, config=session.recipe.model_dump(mode="json"))
    store_plan(session.run.store, session.run.plan)


def open_existing(work: str) -> Session:
    """A run directory that is there, with the recipe that it was made with; raises UsageError when there is none."""
    from pipeline.runs.plan import require_plan
    from pipeline.runs.run_directory import Run
    from pipeline.storage.open_store import open_store
    from stages.recipe import stages_of

    store = open_store(work)
    plan = require_plan(store)
    recipe = read_recipe("", [], plan)
    return Session(recipe, Run(store, plan), stages_of(recipe))


def is_remote(session: Session) -> bool:
    """Whether the run directory is on another machine's file system."""
    return session.run.store.local_root is None


def local_folder(session: Session, stages: Sequence[str] = ("build", "retrieve")) -> Path:
    """The run directory as a path; of a remote one, a copy of what ``stages`` committed, in the cache folder."""
    root = session.run.store.local_root
    if root is not None:
        return root
    from pipeline.runs.download_cache import fetch

    return fetch(session.run, stages)


def require_out(session: Session, out: str) -> None:
    """What is trained belongs to somebody's own folder, not to a cache. Raises UsageError."""
    from pipeline.storage.fsspec_client import copy_line

    if is_remote(session) and not out:
        url = session.run.store.url
        raise UsageError(
            f"--work is remote ('{url}'): say with --out FOLDER where on this machine the model goes (the data are fetched "
            f"to the cache), or copy the run directory first: {copy_line(url)}"
        )
