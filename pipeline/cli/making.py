"""Commands that make the dataset: ``run`` and one a stage."""

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.options import (
    Config,
    Json,
    Overrides,
    Quiet,
    Session,
    Work,
    Workers,
    open_session,
    print_json,
    remember,
)
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pipeline.runner import StageResult

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


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command("run")(run)
    own: dict[str, Callable[..., None]] = {"build": build, "refine": refine}
    for name, text in VERBS.items():
        command = own.get(name) or _stage_command(name)
        app.command(name, help=text)(command)


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
    options = {
        "retry_failed": retry_failed, "reason": reason, "accept_change": accept_change, "executor": executor,
        "address": address,
    }  # fmt: skip
    _work(session, names, workers=workers, json=json, quiet=quiet, options=options)


def refine(
    overrides: Overrides = None, config: Config = "", work: Work = "work", with_model: WithModel = "", workers: Workers = 0,
    executor: Executor = "local", with_upstream: WithUpstream = False, retry_failed: RetryFailed = False,
    reason: Reason = "", accept_change: AcceptChange = False, json: Json = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """As the other stages, with a cropper's boxes among the candidates where one is named."""
    told = [*(overrides or []), *_refining_with(with_model)]
    _stage_command("refine")(
        told, config, work, workers, executor, with_upstream, retry_failed, reason, accept_change, json, quiet
    )


def _refining_with(folder: str) -> list[str]:
    """The override that the option stands for, found from anywhere; without it the recipe's cropper stays. Raises ModelError."""
    from json import dumps
    from pathlib import Path

    from procrop_model.model_digest import model_digest

    if not folder:
        return []
    model_digest(folder)  # what is no cropper must stop the command before anything is remembered
    return [f"refine.cropper={dumps(str(Path(folder).resolve()))}"]


def _stage_command(name: str) -> Callable[..., None]:
    def command(
        overrides: Overrides = None, config: Config = "", work: Work = "work", workers: Workers = 0,
        executor: Executor = "local", address: Address = "", with_upstream: WithUpstream = False, retry_failed: RetryFailed = False,
        reason: Reason = "", accept_change: AcceptChange = False, json: Json = False, quiet: Quiet = False,
    ) -> None:  # fmt: skip
        session = open_session(config, work, overrides, start=with_upstream or name == "ingest")
        names = _with_upstream(session, name) if with_upstream else [name]
        options = {
            "retry_failed": retry_failed, "reason": reason, "accept_change": accept_change, "executor": executor,
            "address": address,
        }  # fmt: skip
        _work(session, names, workers=workers, json=json, quiet=quiet, options=options)

    return command


def build(
    overrides: Overrides = None, config: Config = "", work: Work = "work", shards: Shards = None, workers: Workers = 0,
    executor: Executor = "local", address: Address = "", exclude_near: ExcludeNear = None, with_upstream: WithUpstream = False,
    accept_change: AcceptChange = False, json: Json = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Write the final WebDataset shards: exactly as many as asked, over all splits together."""
    if shards is not None and shards < 1:
        raise UsageError(f"--shards {shards}: want at least one")
    asked = [f"build.shards={shards}"] if shards else []
    told = [*(overrides or []), *asked, *_excluding(exclude_near)]
    session = open_session(config, work, told, start=with_upstream)
    names = _with_upstream(session, "build") if with_upstream else ["build"]
    options = {
        "retry_failed": False,
        "reason": "",
        "accept_change": accept_change,
        "executor": executor,
        "address": address,
    }
    _work(session, names, workers=workers, json=json, quiet=quiet, options=options)


def _excluding(folders: list[str] | None) -> list[str]:
    """The override that the option stands for; without the option the recipe's folders stay. Raises UsageError."""
    from json import dumps

    _require_folders(folders or [])  # before a new run directory remembers them
    return [f"build.exclude_near={dumps(folders)}"] if folders else []


def _require_folders(folders: Sequence[str]) -> None:
    """What is not there must stop the command before anything is touched."""
    from stages.excluded import excluded_files

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


def _work(
    session: Session, names: list[str], *, workers: int, json: bool, quiet: bool, options: dict[str, Any]
) -> None:
    from pipeline.cli.display import Display, summary_of
    from pipeline.cli.executing import Asked, carry_out, finished, require_executor
    from pipeline.runner import Options
    from pipeline.uploads import sweep

    reason = options["reason"]

    def retry(receipt: Any) -> bool:
        failed = receipt.n_failed
        return bool(options["retry_failed"] and (reason in failed if reason else failed))

    asked = Asked(names, options["executor"], options["address"], workers)
    told = Options(retry=retry, accept_change=options["accept_change"])
    require_executor(asked, told)
    if "build" in names:
        _require_folders(session.recipe.build.exclude_near)
    display = Display(quiet=quiet or json)
    sweep(session.run.store)
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
    if json:
        body = {"work": session.run.store.url, "stages": [summary_of(result) for result in results]}
        print_json({**body, "removed_sources": done.removed, "leftovers": left, "waits_for": done.waits_for})
    _exit_with(results)


def _leftovers(session: Session, removed: int) -> list[str]:
    """Places that may still hold something of photographs taken down; a remote run directory has none but its stages."""
    from pipeline.cli.leftovers import leftovers
    from pipeline.cli.sources import known_files
    from pipeline.storage import LocalStore

    store = session.run.store
    return leftovers(store.root, known_files(session.run), removed=removed) if isinstance(store, LocalStore) else []


def _lost_files(session: Session) -> list[dict[str, str]]:
    """Input files that gave no photograph; copies of others come last, as people often have them on purpose."""
    from pipeline.funnel import failed_samples, rejected_samples

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
