"""Run stages of a dataset: the whole chain, or one stage with or without those before it."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.app.session import Session, open_session, save_recipe
from pipeline.core.errors import UsageError
from pipeline.core.records import PERCEIVED_CANVASES

if TYPE_CHECKING:
    from pipeline.app.progress import Display
    from pipeline.engine.runner import StageResult
    from pipeline.runs.receipts import Receipt
    from pipeline.runs.status import DroppedSample


@dataclass(frozen=True)
class RunRequest:
    """Which stages to run, with which recipe, and how.

    Args:
        stage: verb of the stages to run, for example ``refine`` (all its rounds); empty: every stage in order.
        until: with an empty ``stage``, the verb of the last stage to run; empty: run to the end.
        config: recipe by name or file; empty: the recipe of the run directory, or the default one for a new directory.
        work: run directory, a path or fsspec URL.
        overrides: ``key=value`` changes of the recipe.
        workers: worker processes; 0: one per GPU if the recipe's models use GPUs, else one per processor core.
        executor: ``local``, ``ray`` or ``array``.
        address: address of the Ray cluster; empty: this machine.
        with_upstream: also run the stages that ``stage`` depends on.
        retry_failed: process shards with failed samples again.
        reason: with ``retry_failed``, only shards with samples that failed for this reason.
        accept_takedown: let go of any number of input files that are gone.
        accept_change: move results of another recipe to ``lineage/`` and start again.
        with_model: folder of a trained cropper whose boxes join the candidates of ``refine``; empty: the recipe's setting.
        shards: exactly so many final shards over all splits; None: the recipe's setting, which is the most that there may be.
        exact: exactly as many final shards as the recipe says.
        exclude_near: folders of pictures; photographs similar to one of them stay out of the final shards.
        licence_policy: ``strict``, ``warn`` or ``list``; empty: the recipe's.
    """

    stage: str = ""
    until: str = ""
    config: str = ""
    work: str = "work"
    overrides: Sequence[str] = ()
    workers: int = 0
    executor: str = "local"
    address: str = ""
    with_upstream: bool = False
    retry_failed: bool = False
    reason: str = ""
    accept_change: bool = False
    accept_takedown: bool = False
    with_model: str = ""
    shards: int | None = None
    exact: bool = False
    exclude_near: Sequence[str] = ()
    licence_policy: str = ""

    def should_retry(self, receipt: "Receipt") -> bool:
        """Whether a finished shard has failed samples that are to be processed again."""
        failed = receipt.n_failed
        return bool(self.retry_failed and (self.reason in failed if self.reason else failed))


@dataclass(frozen=True)
class RunReport:
    """What a run did.

    Args:
        work: address of the run directory.
        stages: one result per stage.
        removed_sources: input files that disappeared since the last run.
        leftovers: one line per place that may still hold data of photographs that were taken down.
        waits_for: why an array task ended before the last stage; empty if it did not.
        lost_files: input files that gave no photograph, as rows with ``reason`` and ``detail``; duplicates come last.
        spoilt: one line per stage that rejected more of its samples than ``Recipe.max_rejected`` allows.
    """

    work: str
    stages: "list[StageResult]"
    removed_sources: int
    leftovers: list[str]
    waits_for: str
    lost_files: "list[DroppedSample]"
    spoilt: list[str]

    def failed_samples(self) -> dict[str, int]:
        """Number of failed samples by stage, for the stages that have any."""
        counts = {
            result.stage: sum(sum(receipt.n_failed.values()) for receipt in result.receipts) for result in self.stages
        }
        return {stage: count for stage, count in counts.items() if count}


def run_stages_of(request: RunRequest, display: "Display") -> RunReport:
    """Run the requested stages and store the recipe as the one of the run directory.

    Raises UsageError, ModelError, MissingUpstreamError and RefusedError; nothing is written before the request is checked.
    """
    from pipeline.app.execute import ExecutionRequest, execute, require_executor
    from pipeline.app.plans.before_work import check_before_work
    from pipeline.app.plans.plan_fleet import PlannedRun
    from pipeline.engine.runner import Options
    from pipeline.planning.whole_run import Expected
    from pipeline.storage.stale_uploads import abort_stale_uploads

    overrides = [*request.overrides, *recipe_overrides(request)]
    start = not request.stage or request.with_upstream or request.stage == "ingest"
    session = open_session(request.config, request.work, overrides, start=False)
    stages = requested_stages(session, request)
    execution = ExecutionRequest(
        stages, request.executor, request.address, request.workers, accept_takedown=request.accept_takedown
    )
    options = Options(retry=request.should_retry, accept_change=request.accept_change)
    require_executor(execution, options)
    if "build" in stages:
        _require_readable(session.recipe.build.exclude_near)
    forecast = check_before_work(
        PlannedRun(session.recipe, session.stages, session.run.store, session.run.plan), stages, display.message,
        list_input=not (request.executor == "array" and session.run.plan.sources),
    )  # fmt: skip
    display.expect(
        {cost.stage: Expected(cost.samples, cost.seconds) for cost in forecast.costs if cost.stage in stages}
    )
    session = open_session(request.config, request.work, overrides, start=start)
    abort_stale_uploads(session.run.store)
    done = execute(session, execution, options, display)
    save_recipe(done.session)
    display.finished(done.results)
    for line in (*_too_few_shards(done.session, done.results), *_licence_warnings(done.session, done.results)):
        display.message(line)
    return RunReport(
        work=session.run.store.url,
        stages=done.results,
        removed_sources=done.removed,
        leftovers=_leftovers(done.session, done.removed),
        waits_for=done.waits_for,
        lost_files=_lost_files(done.session) if "ingest" in stages else [],
        spoilt=spoilt_stages(done.results, session.recipe.max_rejected),
    )


def spoilt_stages(results: "Sequence[StageResult]", most: float) -> list[str]:
    """Lines for stages that rejected more than a share of their samples, with the reasons."""
    lines = []
    for result in results:
        n_in = sum(receipt.n_in for receipt in result.receipts)
        reasons: Counter[str] = Counter()
        for receipt in result.receipts:
            reasons.update(receipt.n_rejected)
        if result.stage != "ingest" and n_in and reasons.total() > most * n_in:
            words = ", ".join(f"{reason} {count:,}" for reason, count in sorted(reasons.items()))
            lines.append(
                f"{result.stage} rejected {reasons.total():,} of {n_in:,} ({words}), more than max_rejected={most:g} allows: is a "
                "model or a limit wrong?"
            )
    return lines


def _too_few_shards(session: Session, results: "Sequence[StageResult]") -> list[str]:
    """One line if there were fewer samples than the recipe allows final shards. Raises UsageError if it wants exactly so many."""
    wanted = session.recipe.build
    built = [receipt for result in results if result.stage == "build" for receipt in result.receipts]
    tars = sum(path.endswith(".tar") for receipt in built for path in receipt.outputs)
    if len(built) < wanted.shards or tars == wanted.shards:
        return []
    found = (
        f"{sum(receipt.n_kept for receipt in built)} samples fill {tars} final shards, and build.shards={wanted.shards}"
    )
    if wanted.exact:
        raise UsageError(
            f"{found} is to be exact: ask for fewer, or make more canvases (outpaint.variants, more photos)"
        )
    return [f"{found} is the most that there may be: {tars} were written"]


def _licence_warnings(session: Session, results: "Sequence[StageResult]") -> list[str]:
    """One line for each kind of licence that limits who may use the final shards, unless the recipe does not want to know."""
    from stages.publishing.licence_report import licences_of_run

    built = any(result.stage == "build" and result.done_now for result in results)
    report = licences_of_run(session.run.store) if built and session.recipe.build.licence_policy == "warn" else None
    if report is None or not report.warnings:
        return []
    return [
        f"licences: {'; '.join(report.warnings)}. {report.verdict} "
        "--licence-policy strict leaves them out, --licence-policy list says nothing"
    ]


def requested_stages(session: Session, request: RunRequest) -> list[str]:
    """Names of the stages to run, in the recipe's order. Raises UsageError for an unknown ``until``.

    A verb stands for all stages that share it, so ``until=perceive`` ends with the canvases.
    """
    order = [stage.name for stage in session.stages]
    verbs = [stage.verb for stage in session.stages]
    if not request.stage:
        last = request.until or verbs[-1]
        if last not in verbs:
            raise UsageError(f"--until {request.until}: stages are {', '.join(dict.fromkeys(verbs))}")
        return order[: len(verbs) - verbs[::-1].index(last)]
    wanted = {name for name, verb in zip(order, verbs, strict=True) if verb == request.stage}
    if request.stage == "perceive" and not request.with_upstream and not session.run.receipts("outpaint"):
        wanted.discard(PERCEIVED_CANVASES)  # photos can be perceived before any canvas is painted
    for stage in reversed(session.stages) if request.with_upstream else ():
        if stage.name in wanted:
            wanted.update(stage.upstream)
            wanted.update(path.rpartition("/")[0] for path in stage.reads_shared)
    return [name for name in order if name in wanted]


def recipe_overrides(request: RunRequest) -> list[str]:
    """Recipe settings that have an option of their own, checked before a new run directory could store them.

    Raises UsageError for a bad number of shards or an unreadable folder, ModelError for a folder without a cropper.
    """
    overrides = []
    if request.with_model:
        from procrop_model.model_folder.digest import model_digest

        model_digest(request.with_model)
        overrides.append(f"refine.cropper={json.dumps(str(Path(request.with_model).resolve()))}")
    if request.shards is not None:
        if request.shards < 1:
            raise UsageError(f"--shards {request.shards}: at least one is needed")
        overrides.append(f"build.shards={request.shards}")
    if request.exact or request.shards is not None:
        overrides.append("build.exact=true")
    elif any(text.startswith("build.shards=") for text in request.overrides) and not any(
        text.startswith("build.exact=") for text in request.overrides
    ):
        overrides.append("build.exact=false")  # what an earlier --shards left in plan.json
    if request.licence_policy:
        overrides.append(f"build.licence_policy={request.licence_policy}")
    if request.exclude_near:
        _require_readable(request.exclude_near)
        overrides.append(f"build.exclude_near={json.dumps(list(request.exclude_near))}")
    return overrides


def _require_readable(folders: Sequence[str]) -> None:
    """Raise UsageError if a folder of excluded pictures cannot be read."""
    from stages.near_duplicates.excluded_sets import excluded_files

    if folders:
        excluded_files(folders)


def _leftovers(session: Session, removed: int) -> list[str]:
    """Places that may still hold data of photographs taken down; a remote run directory holds only its stages."""
    from pipeline.app.refresh_sources import known_files
    from pipeline.app.takedown_leftovers import leftovers

    root = session.run.store.local_root
    return [] if root is None else leftovers(root, known_files(session.run), removed=removed)


def _lost_files(session: Session) -> "list[DroppedSample]":
    """Input files that gave no photograph; duplicates come last, because people often keep copies on purpose."""
    from pipeline.runs.status import failed_samples, rejected_samples

    ingest = [stage for stage in session.stages if stage.name == "ingest"]
    rows = [*rejected_samples(session.run, ingest), *failed_samples(session.run, ingest)]
    return sorted(rows, key=lambda row: (row["reason"] == "duplicate", row["detail"]))
