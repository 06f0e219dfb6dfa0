"""A model folder replaced by a new one as a whole: readers see the old model or the new one, never a mixture."""

import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from pipeline.core.errors import UsageError
from pipeline.storage.local import fsync_folder


def require_replaceable(out: Path) -> None:
    """Raise UsageError unless ``out`` is missing, an empty folder, or a model folder."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out '{out}' is a file: name a folder for the model")
    if out.is_dir() and any(out.iterdir()) and not (out / "config.json").is_file():
        raise UsageError(f"--out '{out}' is not empty and holds no model (no config.json): name another folder")


def replace_model(model: Path, added: Mapping[str, bytes], out: Path) -> bool:
    """Put a copy of a model folder, with files added to it, in the place of ``out``; gives whether anything was to do.

    The copy is made beside ``out`` and takes its place by a rename. A killed call leaves the old model or the new one at ``out``,
    or, between two renames, a hidden folder beside it that the next call puts back. Files of the old folder itself that the new
    one lacks (a card, a licence) are kept.

    Args:
        model: a model folder, which is left as it is.
        added: further files of the copy by name.
        out: the model folder to replace; created if missing.

    Raises UsageError if ``out`` is something else than a model folder.
    """
    out = out.resolve()
    aside, old = out.with_name(f".{out.name}.partial"), out.with_name(f".{out.name}.replaced")
    _recover(out, old)
    require_replaceable(out)
    if _holds(out, model, added):
        return False
    out.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(aside, ignore_errors=True)
    shutil.copytree(model, aside)
    for name, data in added.items():
        (aside / name).write_bytes(data)
    _keep_further_files(out, aside)
    _flush(aside)
    if out.exists():
        os.replace(out, old)
    os.replace(aside, out)
    fsync_folder(out.parent)
    shutil.rmtree(old, ignore_errors=True)
    return True


def _recover(out: Path, old: Path) -> None:
    """Finish what a killed call began: the old model goes back to its place, unless the new one is there."""
    if old.is_dir() and not out.exists():
        os.replace(old, out)
    shutil.rmtree(old, ignore_errors=True)


def _holds(out: Path, model: Path, added: Mapping[str, bytes]) -> bool:
    wanted = {file.relative_to(model): _sha256(file.read_bytes()) for file in _files(model)}
    wanted |= {Path(name): _sha256(data) for name, data in added.items()}
    return all((out / name).is_file() and _sha256((out / name).read_bytes()) == sha for name, sha in wanted.items())


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _keep_further_files(out: Path, aside: Path) -> None:
    for file in sorted(out.iterdir()) if out.is_dir() else ():
        if file.is_file() and not (aside / file.name).exists():
            shutil.copy2(file, aside / file.name)


def _flush(folder: Path) -> None:
    """Make the files and their names durable before the rename that shows them."""
    for path in (*_files(folder), *(path for path in folder.rglob("*") if path.is_dir()), folder):
        fsync_folder(path)
