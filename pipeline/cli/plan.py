"""``plan``: what a run would do and cost."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.app.plan_run import PlanRequest
from pipeline.cli.options import Config, Json, OutputOptions, Overrides, Work, Workers, print_json
from pipeline.core.console import plain_console
from pipeline.core.escaping import printable
from pipeline.core.units import counted, duration_text, money_text, size_text

if TYPE_CHECKING:
    from pipeline.app.plan_run import PlanReport
    from pipeline.planning.cost_model import Cost

Photos = Annotated[int, typer.Option(help="Number of photographs; 0: as many as the source lists.", min=0)]
Variants = Annotated[int, typer.Option(help="Canvases per photograph; 0: the recipe's.", min=0)]
Price = Annotated[float, typer.Option(help="Price of one worker per hour.", min=0)]
Currency = Annotated[str, typer.Option(help="Of --price and --gpu-price, as it is printed.")]
Gpus = Annotated[int, typer.Option(help="GPUs, one worker each, for the stages whose models use one.", min=0)]
GpuPrice = Annotated[float, typer.Option(help="Price of one GPU with its worker per hour.", min=0)]
Rate = Annotated[
    list[str] | None,
    typer.Option(help="STAGE=SAMPLES_A_SECOND of one GPU; default: from receipts, else the reference rate."),
]
Measure = Annotated[
    bool, typer.Option("--measure", help="Make a few canvases of the photographs first, to measure this machine.")
]
Simulate = Annotated[bool, typer.Option("--simulate", help="Simulate the run on 1 to 1,000 workers, losses included.")]
Lost = Annotated[float, typer.Option(help="Simulated: times per hour that a worker is pre-empted or fails.", min=0)]
Away = Annotated[float, typer.Option(help="Simulated: seconds until a lost worker begins to start again.", min=0)]
Start = Annotated[float, typer.Option(help="Simulated: seconds until a started worker has loaded its models.", min=0)]


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("plan")(plan_command)


def plan_command(
    overrides: Overrides = None, config: Config = "", work: Work = "work", photos: Photos = 0, variants: Variants = 0,
    workers: Workers = 0, price: Price = 0.0, gpus: Gpus = 0, gpu_price: GpuPrice = 0.0, rate: Rate = None,
    currency: Currency = "USD", measure: Measure = False, simulate: Simulate = False, lost: Lost = 0.05,
    away: Away = 300.0, start: Start = 60.0,
    json: Json = False,
) -> None:  # fmt: skip
    """Say what a run would do, what would stop it, and what it costs: photographs, canvases, shards, time, bytes and money."""
    request = PlanRequest(
        config=config, work=work, overrides=overrides or (), photos=photos, variants=variants, workers=workers,
        price=price, currency=currency, gpus=gpus, gpu_price=gpu_price, rate=rate or (), measure=measure, simulate=simulate,
        lost=lost, away=away,
        start=start,
    )  # fmt: skip
    _plan(request, OutputOptions(json=json))


def _plan(request: PlanRequest, output: OutputOptions) -> None:
    from pipeline.app.plan_run import plan_run
    from pipeline.app.progress import Display

    report = plan_run(request, Display(quiet=output.silent))
    if output.json:
        print_json(
            {
                "name": report.planned.recipe.name, **asdict(report.size), "models": report.models,
                "licences": report.licences.counts if report.licences else {},
                **report.forecast.as_json(), **report.clock.as_json(), "currency": report.currency, "gpus": report.fleet.gpus,
                "guessed": report.guessed, "least_seconds": round(report.seconds[0]), "most_seconds": round(report.seconds[1]),
                "findings": [
                    {"text": finding.text, "stops": finding.error is not None} for finding in report.findings
                ],
                "assumed": report.assumptions, "limits": [asdict(limit) for limit in report.limits],
                "simulated": [simulation.as_json() for simulation in report.simulated],
            }
        )  # fmt: skip
    else:
        _print_costs(report)
        _print_wall_clock(report)
        _print_notes(report)


def _print_costs(report: "PlanReport") -> None:
    from rich.table import Table

    console, size, forecast, recipe = plain_console(), report.size, report.forecast, report.planned.recipe
    train = size.photos - size.held_out
    console.print(
        f"{recipe.name}: {counted(size.photos, 'photograph')}: {train:,} to train x {recipe.outpaint.variants} canvases "
        f"(outpaint.variants) and {size.held_out:,} held out x {recipe.outpaint.held_out_variants} "
        f"(outpaint.held_out_variants) are {size.canvases:,} canvases, about {size.kept:,} kept in {counted(size.shards, 'shard')}",
        soft_wrap=True,
    )
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("stage", "samples", "shards", "work", "size", "rate from"):
        table.add_column(column, justify="left" if column in ("stage", "rate from") else "right", no_wrap=True)
    for cost in forecast.costs:
        cells = (f"{cost.samples:,}", f"{cost.shards:,}", duration_text(cost.seconds), size_text(cost.bytes))
        table.add_row(cost.stage, *cells, _source_of(report, cost))
    console.print(table)
    total = forecast.as_json()
    console.print(
        f"{_hours(forecast.worker_hours)} of work, {_hours(forecast.hours)} on {counted(forecast.workers, 'worker')}, "
        f"{size_text(total['bytes'])} in {counted(total['files'], 'file')}{_price(report)}; training comes after it",
        soft_wrap=True,
    )
    if report.licences is not None:
        console.print(f"{report.licences.line}. {report.licences.verdict}", soft_wrap=True, markup=False)
    models = ", ".join(f"{role} {digest}" for role, digest in sorted(report.models.items()))
    console.print(f"models: {models}", soft_wrap=True)


def _hours(hours: float) -> str:
    return duration_text(hours * 3600) if hours < 100 else f"{hours:,.2f} h"


def _price(report: "PlanReport") -> str:
    forecast, currency = report.forecast, report.currency
    if not forecast.price:
        return ""
    return f", {money_text(forecast.money, currency)} at {money_text(forecast.price, currency)} an hour"


def _source_of(report: "PlanReport", cost: "Cost") -> str:
    """Where the rate of a stage is from."""
    if cost.stage in report.planned.rates:
        return "--rate"
    if not cost.measured:
        return "a guess"
    return "--measure" if cost.stage in report.planned.sample else "this run"


def _print_wall_clock(report: "PlanReport") -> None:
    clock, fleet = report.clock, report.fleet
    slowest = clock.slowest
    gpus = (
        f" and {counted(fleet.gpus, 'GPU')} ({clock.gpu_hours:,.1f} GPU hours, {clock.worker_hours:,.1f} others)"
        if fleet.gpus
        else ""
    )
    money = f", {money_text(clock.money, report.currency)} in all" if fleet.price or fleet.gpu_price else ""
    remote = report.planned.store.local_root is None  # a folder of this machine has no requests
    requests = f"; about {counted(clock.requests, 'request')} to the store" if remote else ""
    least, most = (duration_text(seconds) for seconds in report.seconds)
    basis = "a guess, and longer beside other work" if report.guessed else "from measured rates"
    print(
        f"by the clock {least} to {most} ({basis}), stage after stage on {counted(fleet.workers, 'worker')}{gpus}{money}{requests}"
    )
    kind = slowest.on.replace("gpu", "GPU")
    where = kind if slowest.busy == 1 else counted(slowest.busy, kind)
    print(f"first bottleneck: {slowest.what}, {_hours(slowest.hours)} on {where} ({slowest.hours / clock.hours:.0%})")


def _print_notes(report: "PlanReport") -> None:
    for finding in report.findings:
        print(f"{'would stop the run' if finding.error else 'note'}: {printable(finding.text)}")
    for text in report.assumptions:
        print(f"assumed: {text}")
    for limit in report.limits:
        print(f"limit: {limit.what}: {limit.change}")
    for run in report.simulated:
        print(
            f"simulated on {run.workers:>5,} workers: {_hours(run.hours)}, {run.efficiency:.1%} of their time is "
            f"work that stays; {run.losses:,} losses redid {_hours(run.redone_hours)}"
        )
