"""The joined folder holds links to the files and one table of credits; a second call changes nothing."""

import csv
import os
from pathlib import Path

import pytest

from pipeline.app.bundled_model.joined_folder import join_photographs
from pipeline.app.bundled_model.photo_folders import FolderPhotograph
from pipeline.core.errors import UsageError
from stages.photos.credits import CREDIT_FIELDS


def photograph(path: Path, text: str = "", **credits: str) -> FolderPhotograph:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text or path.name)
    return FolderPhotograph(path.name, path, credits)


def state_of(folder: Path) -> dict[str, tuple[str, int]]:
    return {path.name: (path.read_text(), path.lstat().st_mtime_ns) for path in sorted(folder.iterdir())}


@pytest.fixture
def named(tmp_path: Path) -> dict[str, FolderPhotograph]:
    return {
        "a.jpg": photograph(tmp_path / "one" / "a.jpg", "first", author="B, C", split="val"),
        "2-a.jpg": photograph(tmp_path / "two" / "a.jpg", "second"),
        'odd "name\n.jpg': photograph(tmp_path / "two" / "odd.jpg", licence="CC0"),
    }


def test_links_and_one_table_of_credits(tmp_path: Path, named: dict[str, FolderPhotograph]) -> None:
    join_photographs(named, tmp_path / "joined")
    for name, wanted in named.items():
        assert (tmp_path / "joined" / name).is_symlink()
        assert (tmp_path / "joined" / name).read_text() == wanted.path.read_text()
    with (tmp_path / "joined" / "credits.csv").open(newline="", encoding="utf-8") as file:
        rows = {row.pop("file"): row for row in csv.DictReader(file)}
    assert list(rows) == sorted(named)
    blank = dict.fromkeys(CREDIT_FIELDS, "")
    assert rows["a.jpg"] == {**blank, "author": "B, C", "split": "val"} and rows["2-a.jpg"] == blank


@pytest.mark.parametrize("links", [True, False])
def test_a_second_call_changes_nothing(
    tmp_path: Path, named: dict[str, FolderPhotograph], links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not links:
        monkeypatch.setattr(os, "symlink", refuse)
    join_photographs(named, tmp_path / "joined")
    before = state_of(tmp_path / "joined")
    join_photographs(named, tmp_path / "joined")
    after = state_of(tmp_path / "joined")
    assert {name: value for name, value in after.items() if name != "credits.csv"} == {
        name: value for name, value in before.items() if name != "credits.csv"
    }
    assert after["credits.csv"][0] == before["credits.csv"][0]


def refuse(source: object, target: object) -> None:
    raise PermissionError(1, "Operation not permitted")


def test_copies_stand_in_where_there_are_no_links(
    tmp_path: Path, named: dict[str, FolderPhotograph], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "symlink", refuse)
    join_photographs(named, tmp_path / "joined")
    assert (tmp_path / "joined" / "2-a.jpg").read_text() == "second"
    assert not any(path.is_symlink() for path in (tmp_path / "joined").iterdir())
    named["a.jpg"].path.write_text("first, changed")
    join_photographs(named, tmp_path / "joined")
    assert (tmp_path / "joined" / "a.jpg").read_text() == "first, changed"
    named["a.jpg"].path.unlink()
    with pytest.raises(UsageError, match="can be neither linked nor copied"):
        join_photographs(named, tmp_path / "joined")


@pytest.mark.parametrize("links", [True, False])
def test_what_is_not_wanted_any_more_goes(
    tmp_path: Path, named: dict[str, FolderPhotograph], links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not links:
        monkeypatch.setattr(os, "symlink", refuse)
    join_photographs(named, tmp_path / "joined")
    del named["2-a.jpg"]
    join_photographs(named, tmp_path / "joined")
    assert set(os.listdir(tmp_path / "joined")) == {*named, "credits.csv"}
    assert (tmp_path / "two" / "a.jpg").read_text() == "second"


@pytest.mark.parametrize("name", ["mine.jpg", "a.jpg", "folder"])
def test_a_file_of_the_users_own_is_not_touched(tmp_path: Path, named: dict[str, FolderPhotograph], name: str) -> None:
    joined = tmp_path / "joined"
    joined.mkdir()
    (joined / "notes.txt").write_text("stays")
    (joined / name).mkdir() if name == "folder" else (joined / name).write_text("mine")
    before = state_of(joined) if name != "folder" else set(os.listdir(joined))
    with pytest.raises(UsageError, match=f"holds '{name}', which this command did not put there"):
        join_photographs(named, joined)
    assert before == (state_of(joined) if name != "folder" else set(os.listdir(joined)))
