"""``bench``: run a benchmark of the checkout's ``benchmarks/`` by name; each ends with one line ``RESULT {json}``."""

import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from pipeline.core.errors import UsageError

Name = Annotated[str, typer.Argument(help="Name of the benchmark; without one, all are listed.")]
# Modules of ``benchmarks/`` with a ``main(arguments)``, in the order of ``make bench``: quick ones first.
BENCHMARKS = (
    "shards-write", "provenance", "shards-read", "decode", "overhead", "simulate", "throughput", "near-duplicates", "crops-scoring",
    "segmenter", "outpaint", "refinement", "retrieval", "cropper-train", "cropper-infer", "contention", "chain", "train-scaling",
    "reencode", "fuzz", "faults", "ray", "rehearsal",
)  # fmt: skip
MODULES = {"ray": "ray_cluster"}  # by name, where the module must not have the name of a library


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    passing = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
    app.command("bench", context_settings=passing)(bench_command)


def bench_command(context: typer.Context, name: Name = "") -> None:
    """Measure ours beside its peers. Options after NAME are its own (bench NAME --help); --names only lists them."""
    if not name or name.startswith("-"):
        if name != "--names":
            print(context.get_help())
        print("\n".join(BENCHMARKS))
        return
    _run_benchmark(name, context.args)


def _run_benchmark(name: str, arguments: list[str]) -> None:
    """Run a benchmark of the checkout. Raises UsageError for an unknown one, and in an installed package without benchmarks."""
    if name not in BENCHMARKS:
        raise UsageError(f"no benchmark named '{name}': known are {', '.join(BENCHMARKS)}")
    root = Path(__file__).resolve().parents[2]
    if not (root / "benchmarks" / "harness.py").is_file():
        raise UsageError("benchmarks are part of the checkout, not of the installed package: run this in a clone")
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    import_module(f"benchmarks.{MODULES.get(name, name.replace('-', '_'))}").main(arguments)
