"""Where the shards of a command are done: here, on a Ray cluster, or by the tasks of an array job (``--executor``)."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from pipeline.app.batch_size import settled
from pipeline.app.progress import Display
from pipeline.app.recipe_for_run import AUTO
from pipeline.app.refresh_sources import refresh_sources
from pipeline.app.session import Session
from pipeline.app.worker_count import workers_for
from pipeline.core.errors import UsageError

if TYPE_CHECKING:
    from pipeline.core.actor_resources import Needs
    from pipeline.core.stage import Stage
    from pipeline.engine.array_share import Share
    from pipeline.engine.runner import Options, StageResult

KINDS = ("local", "ray", "array")


@dataclass(frozen=True)
class Asked:
    """What a command was told. names: verbs to do; workers: 0 for as many as fit; address: of a Ray cluster."""

    names: Sequence[str]
    kind: str = "local"
    address: str = ""
    workers: int = 0


@dataclass(frozen=True)
class Done:
    """What came of it. removed: how many input files are gone since the last time; waits_for: why an array's task ends here."""

    session: Session
    results: "list[StageResult]"
    removed: int = 0
    waits_for: str = ""


def require_executor(asked: Asked, options: "Options") -> None:
    """Raise UsageError for an executor that is not there or an option that it has no use for, before anything is touched."""
    if asked.kind not in KINDS:
        raise UsageError(f"--executor {asked.kind}: want one of {', '.join(KINDS)}")
    if asked.address and asked.kind != "ray":
        raise UsageError(f"--address belongs to --executor ray, not to {asked.kind}")
    if asked.kind == "ray" and not _installed("ray"):
        raise UsageError("--executor ray needs Ray, which is not installed: pip install 'procrop-data[ray]'")
    if asked.kind == "array":
        from pipeline.engine.array_share import share_in

        share_in(os.environ)
        if options.accept_change:
            raise UsageError(
                "--accept-change moves files away that other tasks of the array may read: run the command once without --executor "
                "array"
            )


def _installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ValueError:  # what is marked as not to be imported
        return False


def carry_out(session: Session, asked: Asked, options: "Options", display: Display) -> Done:
    """Do the stages that were asked for."""
    if asked.kind == "array":
        return _by_share(session, asked, options, display)
    if asked.kind == "ray":
        return _on_ray(session, asked, options, display)
    from pipeline.engine.executors.local import LocalExecutor
    from pipeline.engine.runner import run_stages

    session = settled(session, list(asked.names), display.say)
    removed = refresh_sources(session, display) if "ingest" in asked.names else 0
    chosen = _chosen(session, asked)
    workers = workers_for(session.recipe, asked.workers)
    with LocalExecutor(session.run, chosen, workers=workers, on_event=display.on_event) as executor:
        results = run_stages(chosen, session.run, executor, watcher=display, chain=session.stages, options=options)
    return Done(session, results, removed)


def _chosen(session: Session, asked: Asked) -> "list[Stage]":
    return [stage for stage in session.stages if stage.name.split("/")[0] in asked.names]


def _on_ray(session: Session, asked: Asked, options: "Options", display: Display) -> Done:
    import ray

    from pipeline.engine.executors.ray.cluster import connect
    from pipeline.engine.executors.ray.executor import RayExecutor
    from pipeline.engine.runner import run_stages
    from stages.recipe import stages_of

    if "outpaint" in asked.names and getattr(session.recipe.models.outpainter, "batch", 1) == AUTO:
        raise UsageError(
            "models.outpainter.batch=auto measures this machine's memory, not the cluster's: give a number, for example "
            "models.outpainter.batch=8"
        )
    chosen = _chosen(session, asked)
    cluster = connect(asked.address, workers_for(session.recipe, asked.workers))
    try:
        has_gpu = bool(cluster.get("GPU"))
        # Of other objects than those that travel: whose digests were taken here would not be taken anew on each node.
        needs = {s.name: _needs(session, s, asked.workers, has_gpu=has_gpu) for s in stages_of(session.recipe)}
        executor = RayExecutor(session.run, chosen, needs=needs, on_event=display.on_event, on_wait=display.say)
        removed = refresh_sources(session, display) if "ingest" in asked.names else 0
        with executor:
            results = run_stages(chosen, session.run, executor, watcher=display, chain=session.stages, options=options)
    finally:
        ray.shutdown()
    return Done(session, results, removed)


def _needs(session: Session, stage: "Stage", workers: int, *, has_gpu: bool) -> "Needs":
    """What an actor of a stage asks for: the recipe's word, else a core and, where a model of it may use one, a GPU."""
    from pipeline.core.actor_resources import Needs

    by_verb = {str(verb): needs for verb, needs in session.recipe.ray.items()}
    given = by_verb.get(stage.name.split("/")[0], Needs())
    if given.num_gpus is None:
        on_gpu = has_gpu and not session.recipe.models.gpu_roles.isdisjoint(stage.models())
        given = given.model_copy(update={"num_gpus": 1.0 if on_gpu else 0.0})
    return given.model_copy(update={"most": workers}) if workers and not given.most else given


def _by_share(session: Session, asked: Asked, options: "Options", display: Display) -> Done:
    from pipeline.engine.array_share import share_in, waiting_time
    from pipeline.engine.executors.array import ArrayTask, at_work
    from pipeline.engine.executors.local import LocalExecutor

    share, wait = share_in(os.environ), waiting_time(os.environ)
    work_shards = session.run.plan.work_shards
    share.require_some(max(stage.shards(work_shards) for stage in _chosen(session, asked)))
    with at_work(session.run.store, share):
        session = _prepared(session, asked, share, display)
        chosen = _chosen(session, asked)
        workers = workers_for(session.recipe, asked.workers)
        with LocalExecutor(session.run, chosen, workers=workers, on_event=display.on_event) as executor:
            task = ArrayTask(session.run, executor, share, watcher=display, wait=wait)
            told = task.do(chosen, options, session.stages)
    return Done(session, told.stages, 0, told.waits_for)


def _prepared(session: Session, asked: Asked, share: "Share", display: Display) -> Session:
    """What comes before all shards, done by the first task and found by the others: the list of input files, the batch."""
    from pipeline.app.session import with_plan
    from pipeline.engine.executors.array import once
    from pipeline.runs.plan import load_plan
    from pipeline.runs.run_directory import SOURCES

    display.say(f"{share}, in '{session.run.store.url}'")
    with once(session.run.store, "prepare"):
        plan = load_plan(session.run.store) or session.run.plan  # another task may have written it since
        session = with_plan(session, plan)
        session = settled(session, list(asked.names), display.say)
        # Listed once: a list that changed while other tasks are at work would take their shards' inputs from under them.
        if "ingest" in asked.names and not (plan.sources and session.run.store.exists(f"{SOURCES}.parquet")):
            refresh_sources(session, display)
    return session


def finished(done: Done, asked: Asked) -> Session:
    """The session whose recipe is to be remembered: of an array's task, beside what other tasks have recorded."""
    from pipeline.runs.plan import load_plan

    session = done.session
    if asked.kind == "array":
        session.run.plan = load_plan(session.run.store) or session.run.plan
    return session
