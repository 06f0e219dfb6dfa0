"""The ``procrop-data`` program: its commands, and errors as one line with a documented exit code."""

import logging
import os
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from pipeline.cli import (
    audit,
    bench,
    config,
    convert,
    crop,
    demo,
    doctor,
    eval,
    export,
    plan,
    run,
    status,
    train,
    verify,
)
from pipeline.cli.command_groups import OrderedCommands, group_commands
from pipeline.core.errors import InterruptedRunError, ProcropError
from pipeline.core.escaping import printable
from pipeline.storage.base import storage_errors

HELP = """Make weakly annotated datasets for aesthetic image cropping, and train a cropper on them.

Exit codes: 0 done; 2 wrong usage or configuration; 3 done, with failed samples or with nearly all rejected; 4 refused
(changed configuration, wrong directory, lock held, disk full); 5 damaged data found; 130 interrupted (safe to run again).
"""

app = typer.Typer(
    cls=OrderedCommands, help=HELP, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)
COMMANDS = (
    run, demo, plan, config, crop, export, train, eval, convert, status, verify,
    audit, doctor, bench,
)  # fmt: skip
for module in COMMANDS:
    module.register(app)
group_commands(app)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"procrop-data {version('procrop-data')}")
        raise typer.Exit


@app.callback(help=HELP)
def _program(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None: ...


def main() -> None:
    """Entry point of the console script."""
    # For this process and its workers: Arrow's own allocator keeps freed memory.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    debug = "--debug" in sys.argv
    if debug:
        sys.argv.remove("--debug")
    logging.basicConfig(
        level=logging.DEBUG if debug else logging.WARNING, format="%(name)s: %(message)s", stream=sys.stderr
    )
    try:
        with storage_errors("a file"):
            app()
    except ProcropError as error:
        if debug:
            raise
        _print_error(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _print_error(InterruptedRunError("interrupted; run the same command to go on"))
        sys.exit(InterruptedRunError.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _print_error(error: Exception) -> None:
    print(printable(error if isinstance(error, InterruptedRunError) else f"error: {error}"), file=sys.stderr)
