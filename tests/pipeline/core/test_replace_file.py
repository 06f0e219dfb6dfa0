"""Replacing a file: readers see the old one or the new one, and two writers never share a name."""

import re
from pathlib import Path

import pytest

from pipeline.core.replace_file import replacing


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "sub" / "a.json"
    for text in ("one", "two"):
        with replacing(path) as aside:
            aside.write_text(text)
            assert not path.exists() or path.read_text() == "one"
    assert path.read_text() == "two" and [entry.name for entry in path.parent.iterdir()] == ["a.json"]


def test_a_block_that_fails_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), replacing(path) as aside:
        aside.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_two_writers_at_once_have_names_of_their_own(tmp_path):
    path = tmp_path / "a.json"
    with replacing(path) as first:
        first.write_text("first")
        with replacing(path) as second:
            assert first != second
            second.write_text("second")
        assert path.read_text() == "second"
    assert path.read_text() == "first"


def test_no_module_writes_under_a_fixed_temporary_name():
    """Two writers would share it. Listed: names that are recognised on purpose, and those in a folder that is locked or new."""
    alone = {"joined_folder.py", "replace_model.py", "writer.py", "batch.py", "train.py"}
    root = Path(__file__).resolve().parents[3]
    fixed = re.compile(r"""\bpartial(\{[^}]*\}|\.\{os\.getpid\(\)\})*["']""")
    found = {
        path.name for package in ("pipeline", "procrop_model", "stages") for path in (root / package).rglob("*.py")
        if fixed.search(path.read_text(encoding="utf-8"))
    }  # fmt: skip
    assert found <= alone
