"""Which photographs a folder gives, what its credits say of them, and how two files of one name keep apart."""

import os
from pathlib import Path

import pytest

from pipeline.app.bundled_model.photo_folders import FolderPhotograph, joined_names, photographs_in
from pipeline.core.errors import UsageError
from stages.photos.credits import CREDIT_FIELDS
from stages.photos.file_names import is_picture_name, name_of_text


def folder_of(home: Path, *names: str, credits: str = "") -> Path:
    for name in names:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes(name.encode())
    if credits:
        (home / "credits.csv").write_text(credits)
    return home


def names_of(*uris: str) -> list[str]:
    return list(joined_names(FolderPhotograph(uri, Path(uri), {}) for uri in uris))


def test_other_columns_of_credits_are_left_out(tmp_path: Path) -> None:
    credits = 'file,author,licence,source,note,width\nsub/b.png,"A, B",CC0,Flickr,cut,640\n'
    found = photographs_in(str(folder_of(tmp_path, "a.jpg", "sub/b.png", "notes.txt", credits=credits)))
    assert [photograph.uri for photograph in found] == ["a.jpg", "sub/b.png"]
    assert found[0].credits == {}
    blank = dict.fromkeys(CREDIT_FIELDS, "")
    assert found[1].credits == {**blank, "author": "A, B", "licence": "CC0", "source": "Flickr"}
    assert found[1].path.read_bytes() == b"sub/b.png" and found[1].path.is_absolute()


def test_the_bundled_photographs_have_a_name() -> None:
    found = photographs_in("assets:photos")
    assert len(found) == 33 and all(photograph.credits["licence"] for photograph in found)


@pytest.mark.parametrize(
    ("names", "credits", "said"),
    [
        ((), "", "no photographs are in it"),
        (("a.jpg",), "name\nb\n", "needs a column 'file'"),
        (("a.jpg",), "file,split\na.jpg,training\n", "split 'training': allowed are train, val, test"),
    ],
)
def test_a_folder_of_no_use_is_a_usage_error(tmp_path: Path, names: tuple[str, ...], credits: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        photographs_in(str(folder_of(tmp_path, *names, credits=credits)))


def test_a_missing_folder_and_a_file_are_usage_errors(tmp_path: Path) -> None:
    folder_of(tmp_path, "a.jpg")
    for spec in (tmp_path / "gone", tmp_path / "a.jpg"):
        with pytest.raises(UsageError, match="no such folder"):
            photographs_in(str(spec))


def test_a_sub_folder_that_cannot_be_listed_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its photographs must not be missing in silence. Root may list everything, so the system's answer is replaced."""
    folder_of(tmp_path, "a.jpg", "closed/b.jpg")
    scan = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UsageError, match="closed' cannot be listed: Permission denied"):
        photographs_in(str(tmp_path))


def test_the_first_of_a_name_keeps_it() -> None:
    assert names_of("a.jpg", "a.jpg", "2-a.jpg", "A.JPG", "a.jpg") == [
        "a.jpg", "2-a.jpg", "2-2-a.jpg", "3-A.JPG", "4-a.jpg",
    ]  # fmt: skip


def test_names_have_no_folders_and_are_those_of_pictures() -> None:
    assert names_of("x/y/a.jpg", "x-y-a.jpg") == ["x-y-a.jpg", "2-x-y-a.jpg"]
    (companion,) = names_of("._x/a.jpg")
    assert is_picture_name(companion)


def test_long_and_odd_names_fit_a_file_system() -> None:
    long = "/".join(["ä" * 60] * 4) + "/photo.jpg"
    found = names_of(long, long, "odd\\xff.jpg")
    assert len(set(found)) == 3
    assert all(len(os.fsencode(name_of_text(name))) <= 255 and name.endswith(".jpg") for name in found)
    assert os.fsencode(name_of_text(found[2])) == b"odd\xff.jpg"
