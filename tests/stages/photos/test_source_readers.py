"""What a source may be called, and the tars, names and credits that strangers make."""

import io
import json
import os
import shutil
import tarfile
import tracemalloc

import pytest
from PIL import Image

from pipeline.app.progress import Display
from pipeline.app.refresh_sources import refresh_sources
from pipeline.core.errors import SampleError, StorageError, UsageError
from pipeline.engine.shard_runner import Control, run_shard
from stages.photos import archive_reader
from stages.photos.credits import checked_credits, parse_credits
from stages.photos.file_names import is_picture_name, name_of_text, text_of_name
from stages.photos.local_files import read_regular
from stages.photos.source_readers import SourceKind, list_inputs, read_source, source_kind
from stages.photos.source_scan import scan_sources
from tests.chain import kept_rows, make_photos, recipe_for, run_chain, session_for


@pytest.fixture
def photo(tmp_path):
    return (make_photos(tmp_path / "made", 1) / "photo 0.jpg").read_bytes()


def write_tar(path, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def jpeg(level):
    sink = io.BytesIO()
    Image.linear_gradient("L").resize((240, 240)).point(lambda v: (v + level) % 256).convert("RGB").save(sink, "JPEG")
    return sink.getvalue()


def names(spec):
    return [item.uri for item in list_inputs(str(spec))]


@pytest.mark.parametrize(
    "name", ["Wedding [final]", "b{1}", "sub #2", "2024", "a,b", "what?", "x*", "100%", "a.tar", "l.parquet"]
)
def test_a_folder_that_exists_is_a_folder(tmp_path, photo, name):
    (tmp_path / name / "Shot #1").mkdir(parents=True)
    for file in ("a.jpg", "Shot #1/b [x].jpg"):
        (tmp_path / name / file).write_bytes(photo)
    for spec in (f"{tmp_path}/{name}", f"file://{tmp_path}/{name}"):
        assert source_kind(spec) is SourceKind.FOLDER
        assert names(spec) == ["Shot #1/b [x].jpg", "a.jpg"]
        assert read_source(spec, "Shot #1/b [x].jpg") == photo
    if not set(name) & set("[{?*"):
        for item in list_inputs(f"{tmp_path}/{name}/*.jpg"):
            assert item.read() == read_source(f"{tmp_path}/{name}/*.jpg", item.uri) == photo


def test_the_home_folder_is_written_as_in_a_shell(tmp_path, photo, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/a.jpg").write_bytes(photo)
    assert names("~/mine") == ["a.jpg"] and names("~/mine/*.jpg") == names("~/mine/a.jpg") == [
        f"file://{tmp_path}/mine/a.jpg"
    ]


def test_tars_by_wildcard_braces_and_folder(tmp_path, photo):
    for number in range(3):
        write_tar(tmp_path / f"set/0000{number}.tar", [(f"{number}.jpg", photo), (f"{number}.json", b"{}")])
    for spec in ("*.tar", "{00000..00002}.tar", "0000?.tar"):
        found = list(list_inputs(f"{tmp_path}/set/{spec}"))
        assert [item.uri.rsplit("/", 1)[-1] for item in found] == [f"0000{n}.tar#{n}.jpg" for n in range(3)]
        assert all(
            item.read() == read_source(f"{tmp_path}/set/{spec}", item.uri, place=(item.offset, item.size)) == photo
            for item in found
        )
    with pytest.raises(UsageError, match=r"2 of these files are not there: '.*00003\.tar'"):
        names(f"{tmp_path}/set/{{00000..00004}}.tar")
    with pytest.raises(UsageError, match=r"no photographs but 3 tars: for those write '.*/set/\*\.tar'"):
        names(f"{tmp_path}/set")
    for spec in ("none.tar", "none*.tar", "none.parquet", "none.jpg", "{a..}.tar", "{1..3"):
        with pytest.raises(UsageError, match=r"there|such|brace"):
            names(f"{tmp_path}/{spec}")


def test_a_tar_made_on_a_mac_has_its_photographs(tmp_path, photo):
    members = [("._a.jpg", b"\0\5\26\7"), ("a.jpg", photo), ("__MACOSX/._a.jpg", b"\0"), ("sub/b.jpg", photo)]
    tar = write_tar(tmp_path / "mac.tar", members)
    assert [uri.partition("#")[2] for uri in names(tar)] == ["a.jpg", "sub/b.jpg"]
    assert not is_picture_name("__MACOSX/a.jpg") and not is_picture_name("sub/._a.jpg") and is_picture_name("a.JPE")


def test_the_second_member_of_a_name_is_a_duplicate(tmp_path):
    tar = write_tar(tmp_path / "twice.tar", [("a.jpg", jpeg(0)), ("a.jpg", jpeg(90)), ("b.jpg", jpeg(180))])
    first, second, _ = list_inputs(str(tar))
    assert first.read() == jpeg(0)
    with pytest.raises(SampleError, match="names are unique in a tar") as said:
        read_source(str(tar), second.uri)
    assert said.value.reason == "duplicate"
    session = session_for(recipe_for(tar, ingest={"near_duplicate_bits": 0}), tmp_path / "work")
    receipts = run_chain(session, until="ingest")[0].receipts
    assert sum(r.n_kept for r in receipts) == 2 and sum(r.n_rejected.get("duplicate", 0) for r in receipts) == 1


def flipped(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def test_a_damaged_tar_is_one_line(tmp_path, photo):
    whole = write_tar(tmp_path / "whole.tar", [("a.jpg", photo), ("b.jpg", photo)]).read_bytes()
    second = 512 + len(photo) + -len(photo) % 512
    bad = {
        "cut": whole[: len(photo) // 2], "cut second": whole[: second + 700], "empty": b"", "page": b"<html>" * 300,
        "first header": flipped(whole, 3), "second header": flipped(whole, second + 3), "no end": whole[: second * 2],
        "negative": whole[:124] + b"-0000002000\0" + whole[136:],
    }  # fmt: skip
    for name, data in bad.items():
        (tmp_path / "bad.tar").write_bytes(data)
        with pytest.raises(UsageError, match=r"bad\.tar.*copy it again"):
            names(tmp_path / "bad.tar")
        assert name


def test_members_are_read_at_their_places(tmp_path, photo):
    """A tar's members are no list in memory, and one that was replaced meanwhile is read anew."""
    tar = write_tar(tmp_path / "a.tar", [("a.jpg", photo), ("folder/with a long name" * 8 + ".jpg", photo[::-1])])
    with tarfile.open(tar, "a") as more:
        more.add(tmp_path, "only a folder", recursive=False)
    (first, long) = list_inputs(str(tar))
    assert first.read() == photo and long.read() == photo[::-1] and first.stamp != long.stamp
    assert read_source(str(tar), first.uri, place=(first.offset, first.size)) == photo
    with pytest.raises(UsageError, match="of an older version: run 'procrop-data ingest'"):
        read_source(str(tar), first.uri)
    with pytest.raises(FileNotFoundError, match="not in the source any more"):
        read_source(str(tar), "other.tar#a.jpg", place=(512, 10))
    with pytest.raises(OSError, match="ends within"):
        read_source(str(tar), first.uri, place=(first.offset, 1 << 20))


def test_a_replaced_member_is_not_taken_for_the_listed_one(tmp_path):
    tar = write_tar(tmp_path / "a.tar", [("a.jpg", jpeg(0)), ("b.jpg", jpeg(90))])
    session = session_for(recipe_for(tar, ingest={"near_duplicate_bits": 0}, work_shards=1), tmp_path / "work")
    refresh_sources(session, Display(quiet=True))
    write_tar(tar, [("b.jpg", jpeg(180)), ("a.jpg", jpeg(0))])
    receipt = run_shard(session.stages[0], session.run, 0, Control())
    assert receipt.n_kept == 0 and sum(receipt.n_failed.values()) == 2
    assert receipt.n_failed.get("changed") == 2
    again = run_chain(session, until="ingest")[0].receipts[0]  # lists the tar anew
    assert (again.n_kept, again.n_failed) == (2, {})


def test_credits_of_img2dataset_are_read(tmp_path):
    about = {"url": "https://x.org/1.jpg", "caption": "a\tcat", "license": "CC0", "width": 3, "exif": "{}"}
    members = [
        ("000.jpg", jpeg(0)), ("000.json", json.dumps(about).encode()), ("000.txt", b"a cat"),
        ("001.txt", b"a dog\n"), ("001.jpg", jpeg(90)), ("002.jpg", jpeg(180)), ("002.json", b"[broken"),
    ]  # fmt: skip
    tar = write_tar(tmp_path / "00000.tar", members)
    first, second, third = list_inputs(str(tar))
    assert {name: value for name, value in first.credits.items() if value} == {
        "title": "a cat", "licence": "CC0", "source": "https://x.org/1.jpg",
    }  # fmt: skip
    assert second.credits["title"] == "a dog" and not any(third.credits.values())


def test_headers_of_a_tar_are_walked_once(tmp_path, monkeypatch):
    for name in "abcdef":
        write_tar(tmp_path / f"{name}.tar", [(f"{name}{n}.jpg", jpeg(ord(name) + 40 * n)) for n in range(3)])
    walked = []
    real = archive_reader.tar_places
    monkeypatch.setattr(archive_reader, "tar_places", lambda path: walked.append(path) or real(path))
    session = session_for(recipe_for(f"{tmp_path}/*.tar", ingest={"near_duplicate_bits": 0}), tmp_path / "work")
    receipts = run_chain(session, until="ingest")[0].receipts
    assert sum(r.n_kept for r in receipts) == 18 and len(walked) == 6


@pytest.mark.parametrize(
    "name", [b"caf\xe9.jpg", b"\\xe9.jpg", b"a\nb.jpg", b"\xff\xfe/\x80.jpg", "é".encode() + b".jpg"]
)
def test_names_come_back_from_their_text(name):
    text = text_of_name(os.fsdecode(name))
    assert os.fsencode(name_of_text(text)) == name
    text.encode()


def test_photographs_of_any_name_are_taken(tmp_path, photo):
    folder = os.fsencode(tmp_path / "p")
    for inner in (b"/d\xe9", b"/["):
        os.makedirs(folder + inner)
    for number, name in enumerate((b"caf\xe9.jpg", b"d\xe9/a.jpg", b"[/a].jpg", b"a\nb.jpg")):
        with open(folder + b"/" + name, "wb") as file:
            file.write(jpeg(50 * number))
    session = session_for(recipe_for(tmp_path / "p", ingest={"near_duplicate_bits": 0}), tmp_path / "work")
    run_chain(session, until="ingest")
    assert sorted(row["uri"] for row in kept_rows(session, "ingest")) == [
        "[/a].jpg",
        "a\nb.jpg",
        "caf\\xe9.jpg",
        "d\\xe9/a.jpg",
    ]
    glob = list(list_inputs(f"{tmp_path}/p/*.jpg"))
    assert len(glob) == 2 and all(read_source(f"{tmp_path}/p/*.jpg", item.uri) == item.read() for item in glob)


def test_credits_are_checked_where_they_enter():
    row = {
        "title": "a\nb\tc",
        "author": " Ann\u2028Lee ",
        "licence": "CC0\r\nlicence: other",
        "split": "",
        "source": None,
    }
    assert checked_credits(row, "here") == {
        "title": "a b c", "author": "Ann Lee", "licence": "CC0 licence: other", "licence_url": "", "source": "", "split": "",
    }  # fmt: skip
    assert checked_credits({"split": " train", "author": b"\xff"}, "here")["split"] == "train"
    for split in ("Train", "x/../../../../victim", "holdout", "train/"):
        with pytest.raises(UsageError, match=r"here: split .*: allowed are train, val, test"):
            checked_credits({"split": split}, "here")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("file,author\ncaf\xe9.jpg,x\n".encode("latin-1"), "is not UTF-8 at byte 15"),
        (b"name,author\na.jpg,x\n", "needs a column 'file'; it has name, author"),
        (b'file,author\na.jpg,"x\n', "is no valid CSV"),
        (b"file,author\na.jpg," + b"x" * 200_000, "is no valid CSV"),
        (b"file,split\nok.jpg,val\na.jpg,Train\n", "row 3: split 'Train'"),
    ],
)
def test_a_bad_credits_table_is_one_line(data, words):
    with pytest.raises(UsageError, match=r"credits\.csv") as said:
        parse_credits(data, "credits.csv")
    assert words in str(said.value)


def test_credits_of_a_spreadsheet_are_read():
    table = b'\xef\xbb\xbffile,author\r\na.jpg,"Ann ""A"" Lee"\r\n,nobody\r\nb.jpg\r\nc.jpg,x,too,many\r\n'
    assert {name: row["author"] for name, row in parse_credits(table, "here").items()} == {
        "a.jpg": 'Ann "A" Lee', "b.jpg": "", "c.jpg": "x",
    }  # fmt: skip


def test_a_bad_split_stops_before_any_work(tmp_path):
    folder = make_photos(tmp_path / "src", 2)
    (folder / "credits.csv").write_text("file,split\nphoto 0.jpg,Train\n")
    session = session_for(recipe_for(folder), tmp_path / "work")
    with pytest.raises(UsageError, match="split 'Train'"):
        run_chain(session)
    assert not (tmp_path / "work/ingest").exists()


def test_memory_does_not_grow_with_a_tar(tmp_path):
    write_tar(tmp_path / "large.tar", [(f"{n}.jpg", jpeg(n) + bytes(4_000_000)) for n in range(10)])
    tracemalloc.start()
    assert len(scan_sources(str(tmp_path / "large.tar"), 2, near_bits=0, limit=0, tick=lambda: None)) == 10
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30_000_000  # a few members at once, one for each thread


def test_pipes_and_gone_folders_are_told(tmp_path, photo):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="no regular file"):
        read_regular(str(tmp_path / "pipe"))
    (tmp_path / "a [b]").mkdir()
    (tmp_path / "a [b]/a.jpg").write_bytes(photo)
    (item,) = list_inputs(f"{tmp_path}/a [b]")
    shutil.rmtree(tmp_path / "a [b]")
    with pytest.raises(StorageError, match="is gone"):
        read_source(f"{tmp_path}/a [b]", item.uri)


def test_pictures_that_are_not_read_are_rows_with_a_word(tmp_path, photo):
    (tmp_path / "p").mkdir()
    for name in ("a.jpg", "f.NEF", "g.CR3"):
        (tmp_path / "p" / name).write_bytes(photo)
    for number, name in enumerate(("b.jfif", "c.jpe")):
        (tmp_path / "p" / name).write_bytes(jpeg(80 * number))
    session = session_for(recipe_for(tmp_path / "p", ingest={"near_duplicate_bits": 0}), tmp_path / "work")
    receipts = run_chain(session, until="ingest")[0].receipts
    assert sum(r.n_kept for r in receipts) == 3 and sum(r.n_rejected.get("unsupported", 0) for r in receipts) == 2
