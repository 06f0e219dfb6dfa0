"""Options that many commands share, and how a command writes its result."""

import json
import sys
from dataclasses import dataclass
from typing import Annotated

import typer

Config = Annotated[
    str, typer.Option("--config", "-c", help="Recipe by name or file; default: the recipe that --work was made with.")
]
Work = Annotated[str, typer.Option("--work", "-w", envvar="PROCROP_WORK", help="Run directory (path or fsspec URL).")]
Overrides = Annotated[
    list[str] | None, typer.Argument(help="key=value overrides of the recipe.", metavar="[KEY=VALUE]...")
]
Workers = Annotated[int, typer.Option(help="Worker processes; 0: one per processor core.", min=0)]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output; logs go to standard error.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]


@dataclass(frozen=True)
class OutputOptions:
    """How a command reports to its user.

    Args:
        json: print one JSON object on standard output instead of text.
        quiet: show no progress.
    """

    json: bool = False
    quiet: bool = False

    @property
    def silent(self) -> bool:
        """Whether progress is hidden: it would also disturb the reader of a JSON object."""
        return self.json or self.quiet


def print_json(value: object) -> None:
    """Print the one JSON object of a command with ``--json``."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace").decode() + "\n")
