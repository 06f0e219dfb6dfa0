"""Execute stages: in processes of this machine, on a Ray cluster, or as one task of an array job (``--executor``)."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING

from pipeline.app.progress import Display
from pipeline.app.recipe_for_run import AUTO, with_batch
from pipeline.app.refresh_sources import refresh_sources
from pipeline.app.session import Session, with_plan
from pipeline.app.worker_count import workers_for
from pipeline.core.errors import UsageError

if TYPE_CHECKING:
    from pipeline.core.actor_resources import ActorResources
    from pipeline.core.stage import Stage
    from pipeline.engine.array_share import ArrayShare
    from pipeline.engine.runner import Options, StageResult
    from stages.backends.outpainters.diffusion.backend import DiffusionSettings

EXECUTORS = ("local", "ray", "array")


@dataclass(frozen=True)
class ExecutionRequest:
    """Which stages are executed, and where.

    Args:
        stages: their names.
        executor: ``local``, ``ray`` or ``array``.
        address: address of the Ray cluster; empty: start one on this machine.
        workers: number of workers; 0: as many as fit.
        accept_takedown: let go of any number of input files that are gone.
    """

    stages: Sequence[str]
    executor: str = "local"
    address: str = ""
    workers: int = 0
    accept_takedown: bool = False


@dataclass(frozen=True)
class ExecutionResult:
    """What an execution did.

    Args:
        session: the session whose recipe is to be stored.
        results: one per stage.
        removed: number of input files that disappeared since the last run.
        waits_for: why an array task ended before the last stage; empty if it did not.
    """

    session: Session
    results: "list[StageResult]"
    removed: int = 0
    waits_for: str = ""


def require_executor(request: ExecutionRequest, options: "Options") -> None:
    """Raise UsageError for an executor that is unknown or not installed, or for an option that it does not support."""
    if request.executor not in EXECUTORS:
        raise UsageError(f"--executor {request.executor}: want one of {', '.join(EXECUTORS)}")
    if request.address and request.executor != "ray":
        raise UsageError(f"--address belongs to --executor ray, not to {request.executor}")
    if request.executor == "ray" and not _installed("ray"):
        raise UsageError("--executor ray needs Ray, which is not installed: pip install 'procrop-data[ray]'")
    if request.executor == "array":
        from pipeline.engine.array_share import share_from_environment

        share_from_environment(os.environ)
        if options.accept_change:
            raise UsageError(
                "--accept-change moves files away that other tasks of the array may read: run the command once without --executor "
                "array"
            )


def _installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ValueError:  # sys.modules holds None for it: its import is blocked
        return False


def execute(session: Session, request: ExecutionRequest, options: "Options", display: Display) -> ExecutionResult:
    """Execute the requested stages. Raises what the executor and ``run_stages`` raise."""
    if request.executor == "array":
        return _execute_array_task(session, request, options, display)
    if request.executor == "ray":
        return _execute_on_ray(session, request, options, display)
    from pipeline.engine.executors.local import LocalExecutor
    from pipeline.engine.runner import run_stages

    session = with_measured_batch(session, request, display)
    removed = _refresh(session, request, display)
    stages = _stages(session, request)
    workers = workers_for(session.recipe, request.workers)
    with LocalExecutor(session.run, stages, workers=workers, on_event=display.on_event) as executor:
        results = run_stages(stages, session.run, executor, watcher=display, chain=session.stages, options=options)
    return ExecutionResult(session, results, removed)


def _refresh(session: Session, request: ExecutionRequest, display: Display) -> int:
    """How many input files are gone since they were listed last; 0 where no photograph is read."""
    if "ingest" not in request.stages:
        return 0
    return refresh_sources(session, display, accept_takedown=request.accept_takedown)


def _stages(session: Session, request: ExecutionRequest) -> "list[Stage]":
    return [stage for stage in session.stages if stage.name in request.stages]


def _unmeasured_outpainter(session: Session, request: ExecutionRequest) -> "DiffusionSettings | None":
    """Settings of the out-painter, if the request paints canvases and the recipe leaves the batch size open."""
    from stages.backends.outpainters.diffusion.backend import DiffusionSettings

    settings = session.recipe.models.outpainter
    if "outpaint" in request.stages and isinstance(settings, DiffusionSettings) and settings.batch == AUTO:
        return settings
    return None


def with_measured_batch(session: Session, request: ExecutionRequest, display: Display) -> Session:
    """The session with a batch size for the out-painter, if the recipe leaves it open.

    It is measured once from the free memory of the device and stored in ``plan.json``, because it changes the last bits of
    the canvases.
    """
    settings = _unmeasured_outpainter(session, request)
    if settings is None:
        return session
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    from pipeline.runs.plan import store_plan
    from stages.backends.outpainters.diffusion.batch_size import find_batch
    from stages.recipe import stages_of

    # In a process of its own: the memory that it takes on the device must be free before the workers start.
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        batch = pool.submit(find_batch, settings).result()
    display.message(f"outpaint: {batch} canvases fit the device together; kept in plan.json")
    recipe = with_batch(session.recipe, batch)
    session.run.plan = replace(session.run.plan, config=recipe.model_dump(mode="json"))
    store_plan(session.run.store, session.run.plan)
    return Session(recipe, session.run, stages_of(recipe))


def _execute_on_ray(
    session: Session, request: ExecutionRequest, options: "Options", display: Display
) -> ExecutionResult:
    import ray

    from pipeline.engine.executors.ray.cluster import connect_ray
    from pipeline.engine.executors.ray.executor import RayExecutor
    from pipeline.engine.runner import run_stages

    if _unmeasured_outpainter(session, request) is not None:
        raise UsageError(
            "models.outpainter.batch=auto measures this machine's memory, not the cluster's: give a number, for example "
            "models.outpainter.batch=8"
        )
    stages = _stages(session, request)
    cluster = connect_ray(request.address, workers_for(session.recipe, request.workers))
    try:
        has_gpu = bool(cluster.get("GPU"))
        # From fresh stages: the digests of these models are cached, and the stages sent to the nodes must compute their own.
        resources = {
            stage.name: _actor_resources(session, stage, request.workers, has_gpu=has_gpu)
            for stage in _fresh_stages(session)
        }
        executor = RayExecutor(
            session.run, stages, resources=resources, on_event=display.on_event, on_wait=display.message
        )
        removed = _refresh(session, request, display)
        with executor:
            results = run_stages(stages, session.run, executor, watcher=display, chain=session.stages, options=options)
    finally:
        ray.shutdown()
    return ExecutionResult(session, results, removed)


def _fresh_stages(session: Session) -> "list[Stage]":
    """The stages of the recipe as new objects, and those of the session that it does not have."""
    from stages.recipe import stages_of

    made = stages_of(session.recipe)
    known = {stage.name for stage in made}
    return [*made, *(stage for stage in session.stages if stage.name not in known)]


def _actor_resources(session: Session, stage: "Stage", workers: int, *, has_gpu: bool) -> "ActorResources":
    """Resources of one actor of a stage: the recipe's, else one core and, if a model of the stage may use it, one GPU."""
    from pipeline.core.actor_resources import ActorResources

    by_verb = {str(verb): resources for verb, resources in session.recipe.ray.items()}
    resources = by_verb.get(stage.verb, ActorResources())
    if resources.num_gpus is None:
        on_gpu = has_gpu and not session.recipe.models.gpu_roles.isdisjoint(stage.models())
        resources = resources.model_copy(update={"num_gpus": 1.0 if on_gpu else 0.0})
    return resources.model_copy(update={"most": workers}) if workers and not resources.most else resources


def _execute_array_task(
    session: Session, request: ExecutionRequest, options: "Options", display: Display
) -> ExecutionResult:
    from pipeline.engine.array_share import share_from_environment, waiting_time
    from pipeline.engine.environment_digest import environment_digest
    from pipeline.engine.executors.array import ArrayTask, at_work
    from pipeline.engine.executors.local import LocalExecutor
    from pipeline.runs.plan import load_plan

    share, wait = share_from_environment(os.environ), waiting_time(os.environ)
    work_shards = session.run.plan.work_shards
    share.require_some(max(stage.shards(work_shards) for stage in _stages(session, request)))
    environment = {
        name: value for stage in _stages(session, request) for name, value in environment_digest(stage).items()
    }
    with at_work(session.run.store, share, environment):
        session = _prepare_array(session, request, share, display)
        stages = _stages(session, request)
        workers = workers_for(session.recipe, request.workers)
        with LocalExecutor(session.run, stages, workers=workers, on_event=display.on_event) as executor:
            task = ArrayTask(session.run, executor, share, watcher=display, wait=wait)
            done = task.do(stages, options, session.stages)
    session.run.plan = load_plan(session.run.store) or session.run.plan  # keeps what other tasks have stored
    return ExecutionResult(session, done.stages, 0, done.waits_for)


def _prepare_array(session: Session, request: ExecutionRequest, share: "ArrayShare", display: Display) -> Session:
    """The list of input files and the batch size: the first task of the array makes them, the others reuse them."""
    from pipeline.engine.executors.array import once
    from pipeline.runs.plan import load_plan
    from pipeline.runs.run_directory import SOURCES

    display.message(f"{share}, in '{session.run.store.url}'")
    with once(session.run.store, "prepare"):
        plan = load_plan(session.run.store) or session.run.plan  # another task may have stored a newer one
        session = with_measured_batch(with_plan(session, plan), request, display)
        # Listed once: a list that changes while other tasks work would remove the input of their shards.
        if "ingest" in request.stages and not (plan.sources and session.run.store.exists(f"{SOURCES}.parquet")):
            _refresh(session, request, display)
    return session
