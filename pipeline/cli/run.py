"""Commands that make the dataset: ``run`` and one a stage."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.app.session import Session, open_session, remember
from pipeline.cli.options import Config, Json, Overrides, Quiet, Work, Workers, print_json
from pipeline.core.errors import UsageError

if TYPE_CHECKING:
    from pipeline.engine.runner import StageResult
    from pipeline.runs.receipts import Receipt
    from pipeline.runs.status import DroppedSample

VERBS = {
    "ingest": "Decode, check and store photographs.",
    "dedup": "Compute what each photograph is recognised by.",
    "caption": "Put each photograph into prompts.",
    "outpaint": "Paint surroundings for each photograph.",
    "propose": "Propose candidate crops of each canvas.",
    "refine": "Refine the proposals in rounds.",
    "filter": "Judge canvases and keep their best distinct crops.",
    "build": "Write the final WebDataset shards.",
    "embed": "Compute features of photographs and canvases.",
    "retrieve": "Find similar photographs for each canvas.",
}
WithUpstream = Annotated[bool, typer.Option("--with-upstream", help="Also do what is missing upstream.")]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Do shards with failed samples again.")]
Reason = Annotated[str, typer.Option(help="With --retry-failed: only this reason.")]
AcceptChange = Annotated[
    bool, typer.Option("--accept-change", help="Keep what another recipe made under lineage/, start anew.")
]
Executor = Annotated[
    str,
    typer.Option(
        help="local; ray: a Ray cluster; array: this task's share of a Slurm array or Kubernetes Indexed Job."
    ),
]
Address = Annotated[
    str, typer.Option(help="With --executor ray: auto or host:port of the cluster; default: this machine.")
]
Until = Annotated[str, typer.Option(help="Stop after this stage.")]
WithModel = Annotated[
    str,
    typer.Option(
        help="Folder of a trained cropper whose boxes join the candidates: a new version, so add --accept-change."
    ),
]
Shards = Annotated[int | None, typer.Option(help="Final shards, over all splits; default: the recipe's.")]
ExcludeNear = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude-near", help="Leave out photographs near a picture of this folder (a test set); repeatable."
    ),
]


@dataclass(frozen=True)
class RunOptions:
    """How a command does its stages, whichever they are.

    Args:
        workers: processes; 0 for one a processor core.
        executor, address: who does the shards, and where the Ray cluster is.
        with_upstream: also do what is missing before the stage.
        retry_failed, reason: do shards with failed samples again, of this reason only where one is given.
        accept_change: keep what another recipe made under ``lineage/`` and start anew.
        json, quiet: one JSON object on standard output; no progress.
    """

    workers: int = 0
    executor: str = "local"
    address: str = ""
    with_upstream: bool = False
    retry_failed: bool = False
    reason: str = ""
    accept_change: bool = False
    json: bool = False
    quiet: bool = False


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command("run")(run)
    for name, text in VERBS.items():
        if name == "build":
            app.command(name, help=text)(build)
        elif name == "refine":
            app.command(name, help=text)(refine)
        else:
            _register_stage(app, name, text)


def _register_stage(app: typer.Typer, name: str, text: str) -> None:
    @app.command(name, help=text)
    def command(
        overrides: Overrides = None, config: Config = "", work: Work = "work", workers: Workers = 0,
        executor: Executor = "local", address: Address = "", with_upstream: WithUpstream = False, retry_failed: RetryFailed = False,
        reason: Reason = "", accept_change: AcceptChange = False, json: Json = False, quiet: Quiet = False,
    ) -> None:  # fmt: skip
        options = RunOptions(
            workers=workers, executor=executor, address=address, with_upstream=with_upstream, retry_failed=retry_failed,
            reason=reason, accept_change=accept_change, json=json, quiet=quiet,
        )  # fmt: skip
        _do_stage(name, config, work, overrides or [], options)


def run(
    overrides: Overrides = None, config: Config = "", work: Work = "work", until: Until = "", workers: Workers = 0,
    executor: Executor = "local", address: Address = "", retry_failed: RetryFailed = False, reason: Reason = "",
    exclude_near: ExcludeNear = None, accept_change: AcceptChange = False, json: Json = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Run all stages in order, from photographs to shards and neighbours."""
    session = open_session(config, work, [*(overrides or []), *_excluding(exclude_near)])
    last = until or "retrieve"
    if last not in VERBS:
        raise UsageError(f"--until {until}: stages are {', '.join(VERBS)}")
    names = list(VERBS)[: list(VERBS).index(last) + 1]
    options = RunOptions(
        workers=workers, executor=executor, address=address, retry_failed=retry_failed, reason=reason,
        accept_change=accept_change, json=json, quiet=quiet,
    )  # fmt: skip
    _work(session, names, options)


def refine(
    overrides: Overrides = None, config: Config = "", work: Work = "work", with_model: WithModel = "", workers: Workers = 0,
    executor: Executor = "local", address: Address = "", with_upstream: WithUpstream = False, retry_failed: RetryFailed = False,
    reason: Reason = "", accept_change: AcceptChange = False, json: Json = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """As the other stages, with a cropper's boxes among the candidates where one is named."""
    options = RunOptions(
        workers=workers, executor=executor, address=address, with_upstream=with_upstream, retry_failed=retry_failed,
        reason=reason, accept_change=accept_change, json=json, quiet=quiet,
    )  # fmt: skip
    _do_stage("refine", config, work, [*(overrides or []), *_refining_with(with_model)], options)


def build(
    overrides: Overrides = None, config: Config = "", work: Work = "work", shards: Shards = None, workers: Workers = 0,
    executor: Executor = "local", address: Address = "", exclude_near: ExcludeNear = None, with_upstream: WithUpstream = False,
    accept_change: AcceptChange = False, json: Json = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Write the final WebDataset shards: exactly as many as asked, over all splits together."""
    if shards is not None and shards < 1:
        raise UsageError(f"--shards {shards}: want at least one")
    count = [f"build.shards={shards}"] if shards else []
    options = RunOptions(
        workers=workers, executor=executor, address=address, with_upstream=with_upstream, accept_change=accept_change,
        json=json, quiet=quiet,
    )  # fmt: skip
    _do_stage("build", config, work, [*(overrides or []), *count, *_excluding(exclude_near)], options)


def _do_stage(name: str, config: str, work: str, overrides: list[str], options: RunOptions) -> None:
    """One stage, and what is missing before it where that is asked for."""
    session = open_session(config, work, overrides, start=options.with_upstream or name == "ingest")
    names = _with_upstream(session, name) if options.with_upstream else [name]
    _work(session, names, options)


def _refining_with(folder: str) -> list[str]:
    """The override that the option stands for, found from anywhere; without it the recipe's cropper stays. Raises ModelError."""
    from json import dumps
    from pathlib import Path

    from procrop_model.model_folder.digest import model_digest

    if not folder:
        return []
    model_digest(folder)  # what is no cropper must stop the command before anything is remembered
    return [f"refine.cropper={dumps(str(Path(folder).resolve()))}"]


def _excluding(folders: list[str] | None) -> list[str]:
    """The override that the option stands for; without the option the recipe's folders stay. Raises UsageError."""
    from json import dumps

    _require_folders(folders or [])  # before a new run directory remembers them
    return [f"build.exclude_near={dumps(folders)}"] if folders else []


def _require_folders(folders: Sequence[str]) -> None:
    """What is not there must stop the command before anything is touched."""
    from stages.near_duplicates.excluded_sets import excluded_files

    if folders:
        excluded_files(folders)


def _with_upstream(session: Session, name: str) -> list[str]:
    """The stage and all that it needs, in order."""
    wanted, roots = {name}, []
    for stage in reversed(session.stages):
        root = stage.name.split("/")[0]
        if root in wanted:
            wanted.update(needed.split("/")[0] for needed in (*stage.upstream, *stage.reads_shared))
    for verb in VERBS:
        if verb in wanted:
            roots.append(verb)
    return roots


def _work(session: Session, names: list[str], options: RunOptions) -> None:
    from pipeline.app.execute import Asked, carry_out, finished, require_executor
    from pipeline.app.progress import Display, summary_of
    from pipeline.engine.runner import Options
    from pipeline.storage.stale_uploads import abort_stale_uploads

    def retry(receipt: "Receipt") -> bool:
        failed = receipt.n_failed
        return bool(options.retry_failed and (options.reason in failed if options.reason else failed))

    asked = Asked(names, options.executor, options.address, options.workers)
    told = Options(retry=retry, accept_change=options.accept_change)
    require_executor(asked, told)
    if "build" in names:
        _require_folders(session.recipe.build.exclude_near)
    display = Display(quiet=options.quiet or options.json)
    abort_stale_uploads(session.run.store)
    done = carry_out(session, asked, told, display)
    session, results = finished(done, asked), done.results
    remember(session)
    left = _leftovers(session, done.removed)
    for line in left:
        display.say(line)
    if done.waits_for:
        display.say(
            f"this task's share is done up to {results[-1].stage}; submit the array again later: {done.waits_for}"
        )
    if "ingest" in names:
        display.lost_files(_lost_files(session))
    if options.json:
        body = {"work": session.run.store.url, "stages": [summary_of(result) for result in results]}
        print_json({**body, "removed_sources": done.removed, "leftovers": left, "waits_for": done.waits_for})
    _exit_with(results)


def _leftovers(session: Session, removed: int) -> list[str]:
    """Places that may still hold something of photographs taken down; a remote run directory has none but its stages."""
    from pipeline.app.refresh_sources import known_files
    from pipeline.app.takedown_leftovers import leftovers

    root = session.run.store.local_root
    return [] if root is None else leftovers(root, known_files(session.run), removed=removed)


def _lost_files(session: Session) -> "list[DroppedSample]":
    """Input files that gave no photograph; copies of others come last, as people often have them on purpose."""
    from pipeline.runs.status import failed_samples, rejected_samples

    ingest = [stage for stage in session.stages if stage.name == "ingest"]
    rows = [*rejected_samples(session.run, ingest), *failed_samples(session.run, ingest)]
    return sorted(rows, key=lambda row: (row["reason"] == "duplicate", row["detail"]))


def _exit_with(results: list["StageResult"]) -> None:
    failed = {r.stage: sum(sum(x.n_failed.values()) for x in r.receipts) for r in results}
    failed = {stage: count for stage, count in failed.items() if count}
    if failed:
        where = ", ".join(f"{stage} {count}" for stage, count in failed.items())
        print(f"done, with failed samples ({where}): see 'procrop-data status --failed'", file=sys.stderr)
        raise typer.Exit(3)
