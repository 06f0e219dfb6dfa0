"""``convert``: a public cropping set as our final shards, or any of these and our own datasets as CAD's text format."""

from typing import Annotated

import typer

from pipeline.app.public_sets.convert import ConversionRequest
from pipeline.cli.options import Json, OutputOptions, Quiet, print_json
from pipeline.core.units import counted

Dataset = Annotated[str, typer.Option(help="A public set: gaicd, cpc, fcdb, flms, sacd, cad.")]
Root = Annotated[str, typer.Option(help="Folder of the public set, as published.")]
From = Annotated[str, typer.Option("--from", help="A run directory or a dataset of ours, for --to cad.")]
Out = Annotated[str, typer.Option(help="Folder for the result; must not hold one already.")]
To = Annotated[str, typer.Option(help="shards (ours) or cad (text files beside pictures).")]
Shards = Annotated[int, typer.Option(help="Shards over all splits; 0: about 256 MB each.", min=0)]
Split = Annotated[str, typer.Option(help="One split alone; default: all.")]


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("convert")(convert_command)


def convert_command(
    out: Out, dataset: Dataset = "", root: Root = "", source: From = "", to: To = "shards", shards: Shards = 0,
    split: Split = "", json: Json = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Convert a public cropping set to final shards, or that or a dataset of ours to CAD's text files."""
    request = ConversionRequest(out=out, dataset=dataset, root=root, source=source, to=to, shards=shards, split=split)
    _convert(request, OutputOptions(json=json, quiet=quiet))


def _convert(request: ConversionRequest, output: OutputOptions) -> None:
    from pipeline.app.public_sets.convert import convert_set

    report = convert_set(request, quiet=output.silent)
    if output.json:
        print_json(report.as_json())
    elif not output.quiet:
        splits = ", ".join(f"{name} {count:,}" for name, count in report.splits.items())
        shards = f" in {counted(report.written.shards, 'shard')}" if report.written else ""
        print(f"{splits} pictures{shards}: {request.out}")
        for line in (*report.remarks, *report.warnings()):
            print(line)
