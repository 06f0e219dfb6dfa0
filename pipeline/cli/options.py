"""Options that many commands share, and what they lead to: a recipe, a run directory, its stages."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pipeline.plan import Plan
    from pipeline.run import Run
    from pipeline.stage import Stage
    from stages.recipe import Recipe

DEFAULT_WORK = "work"
DEFAULT_CONFIG = "default"

Config = Annotated[
    str, typer.Option("--config", "-c", help="Recipe by name or file; default: what --work was made with.")
]
Work = Annotated[str, typer.Option("--work", "-w", envvar="PROCROP_WORK", help="Run directory (path or fsspec URL).")]
Overrides = Annotated[
    list[str] | None, typer.Argument(help="key=value overrides of the recipe.", metavar="[KEY=VALUE]...")
]
Workers = Annotated[int, typer.Option(help="Worker processes; 0: one a processor core.", min=0)]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output; logs go to standard error.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]


@dataclass(frozen=True)
class Session:
    """A recipe bound to a run directory. Nothing of it is loaded or written yet but ``plan.json``."""

    recipe: "Recipe"
    run: "Run"
    stages: list["Stage"]


def read_recipe(config: str, overrides: Sequence[str], plan: "Plan | None" = None) -> "Recipe":
    """The recipe of a command: the one named, else the one that the run directory was made with, else the default."""
    from pipeline import config as recipes
    from pipeline.cli.batching import with_kept_batch
    from stages.recipe import Recipe

    if config or plan is None:
        data = recipes.read_recipe(config or DEFAULT_CONFIG)
        origin = f"'{config or DEFAULT_CONFIG}'"
    else:
        data, origin = dict(plan.config), f"of '{plan.name}' in plan.json"
    return with_kept_batch(recipes.parse(Recipe, recipes.override(data, overrides), origin), plan)


def open_session(config: str, work: str, overrides: Sequence[str] | None, *, start: bool = True) -> Session:
    """Bind a recipe to a run directory. Raises UsageError and RefusedError.

    start: whether this command may begin a run; one that must find others' work there writes nothing where there is none.
    """
    from pipeline.plan import Plan, freeze, load
    from pipeline.run import Run
    from pipeline.storage import open_store
    from stages.recipe import stages_of

    store = open_store(work)
    plan = load(store)
    recipe = read_recipe(config, overrides or [], plan)
    body = recipe.model_dump(mode="json")
    frozen = freeze(store, Plan(recipe.name, recipe.seed, recipe.work_shards, body), start=start)
    return Session(recipe, Run(store, frozen), stages_of(recipe))


def with_plan(session: Session, plan: "Plan") -> Session:
    """The session bound to a plan that was stored since, and to the batch that it holds."""
    from pipeline.cli.batching import with_kept_batch
    from stages.recipe import stages_of

    session.run.plan = plan
    recipe = with_kept_batch(session.recipe, plan)
    return session if recipe is session.recipe else Session(recipe, session.run, stages_of(recipe))


def remember(session: Session) -> None:
    """Make the recipe of a command that succeeded the one that later commands use without ``--config``."""
    from dataclasses import replace

    from pipeline.plan import record

    session.run.plan = replace(session.run.plan, config=session.recipe.model_dump(mode="json"))
    record(session.run.store, session.run.plan)


def open_existing(work: str) -> Session:
    """A run directory that is there, with the recipe that it was made with; raises UsageError when there is none."""
    from pipeline.plan import require
    from pipeline.run import Run
    from pipeline.storage import open_store
    from stages.recipe import stages_of

    store = open_store(work)
    plan = require(store)
    recipe = read_recipe("", [], plan)
    return Session(recipe, Run(store, plan), stages_of(recipe))


def worker_count(workers: int) -> int:
    """How many worker processes an option asks for; 0 means one a core that this process may use."""
    return (
        workers or len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else workers or os.cpu_count() or 1
    )


def workers_for(recipe: "Recipe", workers: int) -> int:
    """How many worker processes a command that makes data starts: by default one a GPU where the recipe's models use GPUs, for
    each loads its own weights, else one a core.
    """
    roles = [getattr(recipe.models, name) for name in type(recipe.models).model_fields]
    on_gpu = any(getattr(role, "device", "cpu") != "cpu" for role in roles)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = len([n for n in os.listdir("/dev") if n.startswith("nvidia") and n[6:].isdigit()]) if on_gpu else 0
    if gpus and visible is not None:
        gpus = len([part for part in visible.split(",") if part.strip() and part.strip() != "-1"])
    return workers or gpus or worker_count(0)


def print_json(value: Any) -> None:
    """The one JSON object of a command with ``--json``."""
    print(json.dumps(value, ensure_ascii=False))


def is_remote(session: Session) -> bool:
    """Whether the run directory is on another machine's file system."""
    from pipeline.storage import LocalStore

    return not isinstance(session.run.store, LocalStore)


def local_folder(session: Session, stages: Sequence[str] = ("build", "retrieve")) -> Any:
    """The run directory as a path; of a remote one, a copy of what ``stages`` committed, in the cache folder."""
    store: Any = session.run.store
    if not is_remote(session):
        return store.root
    from pipeline.fetched import fetch

    return fetch(session.run, stages)


def require_out(session: Session, out: str) -> None:
    """What is trained belongs to somebody's own folder, not to a cache. Raises UsageError."""
    from pipeline.remote import copy_line

    if is_remote(session) and not out:
        url = session.run.store.url
        raise UsageError(
            f"--work is remote ('{url}'): say with --out FOLDER where on this machine the model goes (the data are fetched "
            f"to the cache), or copy the run directory first: {copy_line(url)}"
        )
