"""``convert``: a public cropping set as our final shards, or any of these and our own datasets as CAD's text format."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.options import Json, Quiet, print_json
from pipeline.cli.training_progress import progress_bar
from pipeline.core.errors import UsageError

if TYPE_CHECKING:
    from procrop_model.datasets.labelled import LabelledSet
    from procrop_model.datasets.registry import Format

Dataset = Annotated[str, typer.Option(help="A public set: gaicd, cpc, fcdb, flms, sacd, cad.")]
Root = Annotated[str, typer.Option(help="Folder of the public set, as published.")]
From = Annotated[str, typer.Option("--from", help="A run directory or a dataset of ours, for --to cad.")]
Out = Annotated[str, typer.Option(help="Folder for the result; must not hold one already.")]
To = Annotated[str, typer.Option(help="shards (ours) or cad (text files beside pictures).")]
Shards = Annotated[int, typer.Option(help="Shards over all splits; 0: about 256 MB each.", min=0)]
Split = Annotated[str, typer.Option(help="One split alone; default: all.")]


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("convert")(convert)


def convert(
    out: Out, dataset: Dataset = "", root: Root = "", source: From = "", to: To = "shards", shards: Shards = 0,
    split: Split = "", json: Json = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Convert a public cropping set to final shards, or that or a dataset of ours to CAD's text files."""
    if to not in ("shards", "cad"):
        raise UsageError(f"--to '{to}': want shards or cad")
    if bool(dataset) != bool(root) or bool(dataset) == bool(source):
        raise UsageError(
            "name what to convert: --dataset and --root of a public set, or --from a run or dataset of ours"
        )
    if source and to != "cad":
        raise UsageError("--from has final shards already: it goes with --to cad")
    place = Path(out)
    if place.exists() and any(place.iterdir()):
        raise UsageError(
            f"--out '{out}' is not empty: name a new folder or delete this one, so that nothing of another conversion is mixed in"
        )
    told: dict[str, Any]
    if source:
        from pipeline.app.public_sets.cad_writer import dataset_of, write_dataset

        told = {"remarks": [], **write_dataset(dataset_of(Path(source)), place, split)}
    else:
        form, found = _read(dataset, root, split)
        told = {"remarks": found.remarks(), **_write(form, found, place, to, shards, quiet or json)}
    if json:
        print_json({"out": out, "to": to, **told})
    elif not quiet:
        splits = ", ".join(f"{name} {count}" for name, count in told["splits"].items())
        print(f"{splits} pictures{f' in {n} shards' if (n := told.get('shards')) else ''}: {out}")
        for line in (*told["remarks"], *_warnings(told)):
            print(line)


def _warnings(told: dict[str, Any]) -> list[str]:
    lines = {
        "reencoded": "pictures were no JPEG and were encoded once",
        "across_splits": "pictures are in more than one split of the set",
    }
    return [f"{told[name]} {words}" for name, words in lines.items() if told.get(name)]


def _read(dataset: str, root: str, split: str) -> "tuple[Format, LabelledSet]":
    from procrop_model.datasets.registry import PAIRS, dataset_format

    form = dataset_format(dataset)
    if form.protocol == PAIRS:
        raise UsageError(f"{form.name} has compared pairs and no crops: there is nothing to make shards of; use fcdb")
    return form, form.read(root, split)


def _write(form: "Format", found: "LabelledSet", place: Path, to: str, shards: int, quiet: bool) -> dict[str, Any]:
    if not found.images:
        raise UsageError(f"'{form.name}' has no usable picture: {'; '.join(found.remarks())}")
    if to == "cad":
        from pipeline.app.public_sets.cad_writer import write_set

        return write_set(form, found, place)
    from pipeline.app.public_sets.to_shards import write_shards

    progress, close = progress_bar("convert", quiet)
    try:
        return write_shards(form, found, place, shards, progress)
    finally:
        close()
