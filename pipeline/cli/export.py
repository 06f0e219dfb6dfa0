"""``export``: a cropper as ONNX graphs."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from pipeline.app.crop_files.inputs import find_model
from pipeline.cli.options import Json, OutputOptions, Quiet, Work, print_json
from pipeline.core.errors import UsageError
from pipeline.core.units import size_text

Model = Annotated[
    str, typer.Option(help="Folder of a trained cropper; default: the one of --work, else the bundled one.")
]
Out = Annotated[str, typer.Option(help="Folder for the graphs.")]


@dataclass(frozen=True)
class ExportRequest:
    """Folder of the cropper (empty: that of the run directory ``work``, else the bundled one), and folder for the graphs."""

    model: str = ""
    out: str = "cropper-onnx"
    work: str = "work"


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("export")(export_command)


def export_command(
    model: Model = "", out: Out = "cropper-onnx", work: Work = "work", json: Json = False, quiet: Quiet = False
) -> None:
    """Write a cropper as ONNX: the whole, and the parts that 'crop --model' runs faster than torch on a processor."""
    _export(ExportRequest(model=model, out=out, work=work), OutputOptions(json=json, quiet=quiet))


def _export(request: ExportRequest, output: OutputOptions) -> None:
    from pipeline.app.progress_bar import progress_bar
    from procrop_model.inference.onnx_export import export_cropper
    from procrop_model.model_folder.save_load import load_model
    from procrop_model.model_folder.trained_on import FILE as TRAINED_ON

    folder, out = find_model(request.model, request.work), Path(request.out)
    if folder.resolve() == out.resolve():
        raise UsageError(f"--out '{out}' is the cropper itself: name another folder")
    with progress_bar("export", output.silent) as progress:
        exported = export_cropper(load_model(folder), out, lambda done, total, _: progress(done, total))
    if (folder / TRAINED_ON).exists():
        shutil.copyfile(folder / TRAINED_ON, out / TRAINED_ON)
    if output.json:
        print_json({"folder": request.out, "graphs": exported["graphs"]})
    elif not output.quiet:
        for name, graph in exported["graphs"].items():
            size = (out / f"{name}.onnx").stat().st_size
            print(
                f"{out}/{name}.onnx  {size_text(size)}  {', '.join(graph['inputs'])} -> {', '.join(graph['outputs'])}"
            )
