"""Options that many commands share."""

import json
from typing import Annotated, Any

import typer

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


def print_json(value: Any) -> None:
    """The one JSON object of a command with ``--json``."""
    print(json.dumps(value, ensure_ascii=False))
