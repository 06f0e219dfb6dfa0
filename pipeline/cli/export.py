"""``export``: a cropper as ONNX graphs."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from pipeline.app.crop_files.inputs import find_model
from pipeline.cli.options import Json, Quiet, Work, print_json
from pipeline.cli.training_progress import progress_bar
from pipeline.core.errors import UsageError

Model = Annotated[
    str, typer.Option(help="Folder of a trained cropper; default: the one of --work, else the bundled one.")
]
Out = Annotated[str, typer.Option(help="Folder for the graphs.")]


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("export")(export)


def export(
    model: Model = "", out: Out = "cropper-onnx", work: Work = "work", json: Json = False, quiet: Quiet = False
) -> None:
    """Write a cropper as ONNX: the whole, and the parts that 'crop --model' runs quicker than torch on a processor."""
    from procrop_model.inference.onnx_export import export_cropper
    from procrop_model.model_folder.save_load import load_model
    from procrop_model.model_folder.trained_on import FILE as TRAINED_ON

    folder = find_model(model, work)
    if folder.resolve() == Path(out).resolve():
        raise UsageError(f"--out '{out}' is the cropper itself: name another folder")
    progress, close = progress_bar("export", quiet or json)
    try:
        about = export_cropper(load_model(folder), Path(out), lambda done, total, _: progress(done, total, {}))
    finally:
        close()
    if (folder / TRAINED_ON).exists():
        shutil.copyfile(folder / TRAINED_ON, Path(out) / TRAINED_ON)
    if json:
        print_json({"folder": out, "graphs": about["graphs"]})
    elif not quiet:
        for name, graph in about["graphs"].items():
            size = (Path(out) / f"{name}.onnx").stat().st_size / 1e6
            print(f"{out}/{name}.onnx  {size:.1f} MB  {', '.join(graph['inputs'])} -> {', '.join(graph['outputs'])}")
