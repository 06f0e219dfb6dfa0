"""A session: a recipe bound to a run directory, which is what each command opens first."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.app.recipe_for_run import recipe_for, with_kept_batch
from pipeline.core.errors import UsageError

if TYPE_CHECKING:
    from pipeline.core.stage import Stage
    from pipeline.runs.plan import Plan
    from pipeline.runs.run_directory import Run
    from stages.recipe import Recipe


@dataclass(frozen=True)
class Session:
    """A recipe bound to a run directory. Opening one loads no model and writes nothing but ``plan.json``."""

    recipe: "Recipe"
    run: "Run"
    stages: list["Stage"]


def open_session(config: str, work: str, overrides: Sequence[str] | None, *, start: bool = True) -> Session:
    """Bind a recipe to a run directory. Raises UsageError and RefusedError.

    Args:
        config: recipe by name or file; empty: the recipe of the run directory, or the default one for a new directory.
        work: run directory, a path or fsspec URL.
        overrides: ``key=value`` changes of the recipe.
        start: whether a new run directory may be started; if False, a missing one is an error and nothing is written.
    """
    from pipeline.runs.plan import Plan, freeze_plan, load_plan
    from pipeline.runs.run_directory import Run
    from pipeline.storage.open_store import open_store
    from stages.recipe import stages_of

    store = open_store(work)
    plan = load_plan(store)
    recipe = recipe_for(config, overrides or [], plan)
    stages, body = stages_of(recipe), recipe.model_dump(mode="json")
    frozen = freeze_plan(store, Plan(recipe.name, recipe.seed, recipe.work_shards, body), start=start)
    return Session(recipe, Run(store, frozen), stages)


def with_plan(session: Session, plan: "Plan") -> Session:
    """The session with a newer stored plan, and with the batch size recorded in it."""
    from stages.recipe import stages_of

    session.run.plan = plan
    recipe = with_kept_batch(session.recipe, plan)
    return session if recipe is session.recipe else Session(recipe, session.run, stages_of(recipe))


def save_recipe(session: Session) -> None:
    """Store the recipe in ``plan.json``, so that later commands use it without ``--config``."""
    from dataclasses import replace

    from pipeline.runs.plan import store_plan

    session.run.plan = replace(session.run.plan, config=session.recipe.model_dump(mode="json"))
    store_plan(session.run.store, session.run.plan)


def open_existing(work: str) -> Session:
    """Open an existing run directory with its own recipe. Raises UsageError when there is none."""
    from pipeline.runs.plan import require_plan
    from pipeline.runs.run_directory import Run
    from pipeline.storage.open_store import open_store
    from stages.recipe import stages_of

    store = open_store(work)
    plan = require_plan(store)
    recipe = recipe_for("", [], plan)
    return Session(recipe, Run(store, plan), stages_of(recipe))


def local_folder(session: Session, stages: Sequence[str] = ("build", "retrieve")) -> Path:
    """The run directory as a path; of a remote one, a local copy of what ``stages`` committed, in the download cache."""
    from pipeline.runs.download_cache import fetch

    return session.run.store.local_root or fetch(session.run, stages)


def require_local_output(session: Session, out: str) -> None:
    """Raise UsageError if a trained model has no local folder to go to: the download cache may be deleted at any time."""
    from pipeline.storage.fsspec_client import copy_line

    if session.run.store.local_root is None and not out:
        url = session.run.store.url
        raise UsageError(
            f"--work is remote ('{url}'): name with --out FOLDER where on this machine the model goes (the data are fetched "
            f"to the cache), or copy the run directory first: {copy_line(url)}"
        )
