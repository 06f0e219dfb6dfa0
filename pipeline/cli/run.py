"""Commands that make the dataset: ``run`` for all stages, and one command per stage."""

import sys
from collections.abc import Mapping
from typing import Annotated

import typer

from pipeline.app.run_stages import RunRequest
from pipeline.cli.options import Config, Json, OutputOptions, Overrides, Quiet, Work, Workers, print_json

HELP = {
    "ingest": "Decode, check and store photographs.",
    "perceive": "Segment and encode each photograph, then each canvas, once for all later stages.",
    "dedup": "Compute the signatures that near-duplicate photographs are found by.",
    "caption": "Describe each photograph in prompts.",
    "outpaint": "Paint surroundings for each photograph.",
    "propose": "Propose candidate crops of each canvas.",
    "refine": "Refine the proposals in rounds.",
    "filter": "Check canvases and keep their best distinct crops.",
    "build": "Write the final WebDataset shards.",
    "embed": "Compute features of photographs and canvases.",
    "retrieve": "Find similar photographs for each canvas.",
}
WithUpstream = Annotated[bool, typer.Option("--with-upstream", help="Also run the missing stages before this one.")]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Process shards with failed samples again.")]
Reason = Annotated[str, typer.Option(help="With --retry-failed: only this reason.")]
AcceptChange = Annotated[
    bool, typer.Option("--accept-change", help="Move results of another recipe to lineage/ and start again.")
]
AcceptTakedown = Annotated[
    bool, typer.Option("--accept-takedown", help="Remove what was made of input files that are gone, however many.")
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
Shards = Annotated[
    int | None, typer.Option(help="Final shards, over all splits, exactly; default: at most the recipe's build.shards.")
]
Exact = Annotated[bool, typer.Option("--exact", help="Exactly build.shards final shards, not at most so many.")]
ExcludeNear = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude-near", help="Leave out photographs similar to a picture of this folder (a test set); repeatable."
    ),
]
LicencePolicy = Annotated[
    str,
    typer.Option(
        help="strict: leave out photographs of non-commercial, no-derivatives and unknown licences; warn: name them; list."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command("run")(run_command)
    for verb, text in HELP.items():
        if verb == "refine":
            app.command(verb, help=text)(refine_command)
        elif verb == "build":
            app.command(verb, help=text)(build_command)
        else:
            _register_stage(app, verb, text)


def run_command(
    overrides: Overrides = None, config: Config = "", work: Work = "work", until: Until = "", workers: Workers = 0,
    executor: Executor = "local", address: Address = "", retry_failed: RetryFailed = False, reason: Reason = "",
    exclude_near: ExcludeNear = None, licence_policy: LicencePolicy = "", exact: Exact = False,
    accept_change: AcceptChange = False,
    accept_takedown: AcceptTakedown = False, json: Json = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Run all stages in order, from photographs to shards and neighbours."""
    request = RunRequest(
        until=until, config=config, work=work, overrides=overrides or (), workers=workers, executor=executor,
        address=address, retry_failed=retry_failed, reason=reason, exclude_near=exclude_near or (), exact=exact,
        licence_policy=licence_policy, accept_change=accept_change, accept_takedown=accept_takedown,
    )  # fmt: skip
    _run(request, OutputOptions(json=json, quiet=quiet))


def _register_stage(app: typer.Typer, verb: str, text: str) -> None:
    @app.command(verb, help=text)
    def command(
        overrides: Overrides = None, config: Config = "", work: Work = "work", workers: Workers = 0,
        executor: Executor = "local", address: Address = "", with_upstream: WithUpstream = False,
        retry_failed: RetryFailed = False, reason: Reason = "", accept_change: AcceptChange = False,
    accept_takedown: AcceptTakedown = False, json: Json = False,
        quiet: Quiet = False,
    ) -> None:  # fmt: skip
        request = RunRequest(
            stage=verb, config=config, work=work, overrides=overrides or (), workers=workers, executor=executor,
            address=address, with_upstream=with_upstream, retry_failed=retry_failed, reason=reason,
            accept_change=accept_change, accept_takedown=accept_takedown,
        )  # fmt: skip
        _run(request, OutputOptions(json=json, quiet=quiet))


def refine_command(
    overrides: Overrides = None, config: Config = "", work: Work = "work", with_model: WithModel = "", workers: Workers = 0,
    executor: Executor = "local", address: Address = "", with_upstream: WithUpstream = False, retry_failed: RetryFailed = False,
    reason: Reason = "", accept_change: AcceptChange = False,
    accept_takedown: AcceptTakedown = False, json: Json = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Refine the proposals; with ``--with-model``, the boxes of a trained cropper join the candidates."""
    request = RunRequest(
        stage="refine", config=config, work=work, overrides=overrides or (), with_model=with_model, workers=workers,
        executor=executor, address=address, with_upstream=with_upstream, retry_failed=retry_failed, reason=reason,
        accept_change=accept_change, accept_takedown=accept_takedown,
    )  # fmt: skip
    _run(request, OutputOptions(json=json, quiet=quiet))


def build_command(
    overrides: Overrides = None, config: Config = "", work: Work = "work", shards: Shards = None, exact: Exact = False,
    workers: Workers = 0,
    executor: Executor = "local", address: Address = "", exclude_near: ExcludeNear = None, licence_policy: LicencePolicy = "",
    with_upstream: WithUpstream = False,
    accept_change: AcceptChange = False,
    accept_takedown: AcceptTakedown = False, json: Json = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Write the final WebDataset shards: exactly --shards over all splits together, or at most the recipe's build.shards."""
    request = RunRequest(
        stage="build", config=config, work=work, overrides=overrides or (), shards=shards, exact=exact, workers=workers,
        executor=executor, address=address, exclude_near=exclude_near or (), with_upstream=with_upstream,
        licence_policy=licence_policy, accept_change=accept_change, accept_takedown=accept_takedown,
    )  # fmt: skip
    _run(request, OutputOptions(json=json, quiet=quiet))


def _run(request: RunRequest, output: OutputOptions) -> None:
    from pipeline.app.progress import Display, summary_of
    from pipeline.app.run_stages import run_stages_of

    display = Display(quiet=output.silent)
    with display:
        report = run_stages_of(request, display)
    for line in report.leftovers:
        display.message(line)
    if report.waits_for:
        last = report.stages[-1].stage
        display.message(f"this task's share is done up to {last}; submit the array again later: {report.waits_for}")
    display.lost_files(report.lost_files)
    if not request.stage:
        display.processor_time(report.stages)
    if output.json:
        stages = [summary_of(result) for result in report.stages]
        print_json(
            {
                "work": report.work, "stages": stages, "removed_sources": report.removed_sources,
                "leftovers": report.leftovers, "waits_for": report.waits_for,
            }
        )  # fmt: skip
    for line in report.spoilt:
        print(line, file=sys.stderr)
    exit_if_failed(report.failed_samples())
    if report.spoilt:
        raise typer.Exit(3)


def exit_if_failed(failed: Mapping[str, int]) -> None:
    """End with exit code 3 and one line if samples failed. failed: their number by stage."""
    if failed:
        counts = ", ".join(f"{stage} {count:,}" for stage, count in failed.items())
        print(f"done, with failed samples ({counts}): see 'procrop-data status --failed'", file=sys.stderr)
        raise typer.Exit(3)
