"""A model folder is replaced as a whole: the old one or the new one is there, whatever stops the call."""

import os
import shutil
from pathlib import Path

import pytest

from pipeline.app.bundled_model.replace_model import replace_model
from pipeline.core.errors import UsageError


def model_folder(home: Path, weights: str, *, index: str = "index.faiss") -> Path:
    (home / "references").mkdir(parents=True)
    (home / "config.json").write_text("{}")
    (home / "model.safetensors").write_text(weights)
    (home / "references" / index).write_text(weights)
    return home


def files_of(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() for p in sorted(folder.rglob("*")) if p.is_file()}


NEW = {
    "config.json": "{}",
    "model.safetensors": "new",
    "photographs.csv": "file\n",
    "references/index.faiss": "new",
}


def put(home: Path) -> bool:
    return replace_model(home / "new", {"photographs.csv": b"file\n"}, home / "out" / "model")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    model_folder(tmp_path / "new", "new")
    return tmp_path


def test_a_new_folder_is_made_with_its_parents(home: Path) -> None:
    assert put(home) is True
    assert files_of(home / "out" / "model") == NEW
    assert os.listdir(home / "out") == ["model"]


def test_a_second_call_finds_it_done(home: Path) -> None:
    put(home)
    inode = (home / "out" / "model").stat().st_ino
    assert put(home) is False
    assert (home / "out" / "model").stat().st_ino == inode
    assert replace_model(home / "new", {"photographs.csv": b"file\na\n"}, home / "out" / "model") is True


def test_the_card_stays_and_old_references_go(home: Path) -> None:
    old = model_folder(home / "out" / "model", "old", index="index.other")
    (old / "README.md").write_text("a card")
    assert put(home) is True
    assert files_of(old) == {**NEW, "README.md": "a card"}
    assert os.listdir(home / "out") == ["model"]


@pytest.mark.parametrize("step", range(3))
def test_a_stopped_call_leaves_a_whole_model(home: Path, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """step: of the copy and the two renames, the one at which the call ends."""
    out = model_folder(home / "out" / "model", "old")
    calls = iter(range(100))

    def stop_at(real):
        def call(*arguments, **options):
            if next(calls) == step:
                raise KeyboardInterrupt
            return real(*arguments, **options)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copytree", stop_at(shutil.copytree))
        patch.setattr(os, "replace", stop_at(os.replace))
        with pytest.raises(KeyboardInterrupt):
            put(home)
    whole = [folder for folder in (out, out.with_name(".model.replaced")) if folder.is_dir()]
    assert files_of(whole[0])["model.safetensors"] in ("old", "new")
    put(home)
    assert files_of(out) == NEW and os.listdir(home / "out") == ["model"]


def test_a_call_killed_between_the_renames_is_undone(home: Path) -> None:
    model_folder(home / "out" / ".model.replaced", "old")
    (home / "out" / ".model.replaced" / "README.md").write_text("a card")
    (home / "out" / ".model.partial").mkdir()
    assert put(home) is True
    assert files_of(home / "out" / "model") == {**NEW, "README.md": "a card"}


def test_a_link_to_a_model_folder_stays_a_link(home: Path) -> None:
    old = model_folder(home / "elsewhere", "old")
    (home / "out").mkdir()
    (home / "out" / "model").symlink_to(old)
    assert put(home) is True
    assert (home / "out" / "model").is_symlink() and files_of(old) == NEW


def test_what_is_no_model_is_not_replaced(home: Path) -> None:
    (home / "out" / "model").mkdir(parents=True)
    (home / "out" / "model" / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds no model"):
        put(home)
    assert files_of(home / "out" / "model") == {"thesis.txt": "mine"}
    with pytest.raises(UsageError, match="is a file"):
        replace_model(home / "new", {}, home / "out" / "model" / "thesis.txt")
