"""Each rule on a dataset that breaks it, our own and others' shards, and garbage that must not stop it."""

import io
import json
import os
import pickle
import random
import tarfile

import numpy as np
import pytest
import webdataset as wds

from pipeline.checks.lint.linter import ERROR, NOTE, Linter, find_shards
from pipeline.core.errors import UsageError
from pipeline.shards.jpeg_xmp import with_xmp
from pipeline.shards.provenance import Provenance, xmp_packet
from pipeline.shards.tar_writer import BLOCK, TarWriter
from tests.canned import picture

JPG = picture(1)
GOOD = {"key": "a", "n": 1, "score": 1.0, "crops": [[0.0, 1.0], [2.0, 3.0]]}


def npy(array, **options):
    sink = io.BytesIO()
    np.save(sink, array, **options)
    return sink.getvalue()


ARRAY = npy(np.zeros((2, 5), np.float32))


def sample(key, value=None, **parts):
    body = json.dumps(GOOD if value is None else value).encode()
    return [(f"{key}.{ext}", data) for ext, data in {"jpg": JPG, "json": body, "npy": ARRAY, **parts}.items()]


def shard(path, *samples):
    with open(path, "wb") as file:
        writer = TarWriter(file)
        for name, data in (member for members in samples for member in members):
            writer.add(name, data)
        writer.finish()
    return path


def foreign(path, members, kind=tarfile.USTAR_FORMAT, change=lambda info: None):
    with tarfile.open(path, "w", format=kind) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.mode = len(data), 0, 0o644
            change(info)
            tar.addfile(info, io.BytesIO(data))
    return path


def lint(*paths):
    linter = Linter()
    findings = list(linter.run(find_shards([str(path) for path in paths])))
    for finding in findings:
        assert finding.line().isprintable() and finding.what and finding.fix and finding.offset >= 0
        json.dumps(finding.as_json()).encode()
    summary = linter.summary()
    assert bool(summary["errors"]) == any(f.severity == ERROR for f in findings)
    return findings


def rules(*paths):
    return {f.rule for f in lint(*paths)}


def name(number=0):
    return f"set-train-{number:06d}.tar"


def test_provenance_is_checked_when_asked_for(tmp_path):
    region = Provenance((1, 2, 30, 40), creator="A", licence="CC0")
    cases = {
        "good": (with_xmp(JPG, xmp_packet(region)), []),
        "none": (JPG, ["has no XMP"]),
        "noxml": (with_xmp(JPG, b"<a"), ["no XML"]),
        "bomb": (with_xmp(JPG, b"<!DOCTYPE a>"), ["document type"]),
        "wide": (with_xmp(JPG, xmp_packet(region._replace(region=(1, 2, 999, 40)))), ["not within 160 x 120"]),
        "bare": (with_xmp(JPG, xmp_packet(Provenance(None))), ["no image region", "names no creator and no licence"]),
        "word": (with_xmp(JPG, xmp_packet(region._replace(source_type="magic"))), ["'magic'"]),
        "real": (with_xmp(JPG, xmp_packet(region._replace(region=None, source_type="digitalCapture"))), []),
    }
    for key, (data, words) in cases.items():
        path = shard(tmp_path / f"{key}.tar", sample("a", jpg=data))
        linter = Linter(provenance=True)
        found = [f.what for f in linter.run(find_shards([str(path)])) if f.rule.startswith("provenance")]
        assert len(found) == len(words) and all(word in what for word, what in zip(words, found, strict=True)), (
            key,
            found,
        )
        assert not {"provenance", "provenance-credits"} & rules(path)


def test_good_shards_have_no_findings(tmp_path):
    for number in range(3):
        shard(tmp_path / name(number), sample(f"a{number}0"), sample(f"a{number}1"))
    assert lint(tmp_path) == [] == lint(tmp_path / "*.tar") == lint(tmp_path / name(1))


def test_what_build_writes_passes(tmp_path):
    from tests.chain import make_photos, recipe_for, run_chain, session_for

    session = session_for(recipe_for(make_photos(tmp_path / "src", 8), build={"shards": 3}), tmp_path / "work")
    run_chain(session, until="build")
    assert lint(tmp_path / "work") == []


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_webdatasets_own_writer_is_read_and_its_metadata_named(tmp_path):
    with wds.ShardWriter(str(tmp_path / "set-train-%06d.tar"), maxcount=2, verbose=0) as sink:
        for number in range(4):
            sink.write({"__key__": f"k{number}", "jpg": JPG, "json": GOOD})
    findings = lint(tmp_path)
    assert {f.rule for f in findings} <= {"mtime", "owner", "mode", "ustar", "no-pax"} and "mtime" in {
        f.rule for f in findings
    }


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda info: setattr(info, "mtime", 7), "mtime"),
        (lambda info: setattr(info, "uid", 1000), "owner"),
        (lambda info: setattr(info, "gid", 5), "owner"),
        (lambda info: setattr(info, "mode", 0o755), "mode"),
    ],
)
def test_metadata_of_members(tmp_path, change, rule):
    foreign(tmp_path / name(), sample("a"), change=change)
    findings = lint(tmp_path)
    assert {f.rule for f in findings} == {rule} and findings[0].offset == 0 and len(findings) == 3


def test_formats_and_kinds_of_members(tmp_path):
    long = "x" * 120
    assert "no-pax" in rules(foreign(tmp_path / name(0), sample(long), tarfile.PAX_FORMAT))
    gnu = lint(foreign(tmp_path / name(1), sample(long), tarfile.GNU_FORMAT))
    assert {"no-long-names", "ustar", "member-name"} == {f.rule for f in gnu}
    assert any("124 characters" in f.what for f in gnu)
    for number, kind in enumerate((tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE), 2):

        def change(info, kind=kind):
            if info.name == "d":
                info.type, info.linkname = kind, "a.jpg"

        path = foreign(tmp_path / name(number), [("d", b""), *sample("a")], change=change)
        assert rules(path) == {"regular-files"}


@pytest.mark.parametrize(
    "bad", ["A.jpg", "a.JPG", "a.seg.png", "a", "b/a.jpg", "a b.jpg", "é.jpg", ".jpg", "x" * 88 + ".jpg"]
)
def test_names_of_members(tmp_path, bad):
    findings = lint(foreign(tmp_path / name(), [*sample("a0"), (bad, JPG)]))
    wrong = [f for f in findings if f.rule == "member-name"]
    assert len(wrong) == 1 and wrong[0].severity == ERROR and wrong[0].offset > 0


def test_parts_apart_reordered_missing_or_doubled_are_errors(tmp_path):
    a, b = sample("a0"), sample("a1")
    assert "adjacent" in rules(shard(tmp_path / "set-train-000000.tar", a[:2], b, a[2:]))
    assert rules(shard(tmp_path / "set-val-000000.tar", a, b[::-1])) == {"member-order"}
    assert rules(shard(tmp_path / "set-test-000000.tar", a, b[:2])) == {"same-parts"}
    assert rules(shard(tmp_path / "two-val-000000.tar", a, [*b, b[2]])) == {"same-parts"}
    (finding,) = lint(shard(tmp_path / "two-test-000000.tar", a, sample("a11")))
    assert (finding.rule, finding.severity) == ("key-width", NOTE)


def test_a_key_in_two_shards_is_named_with_both_places(tmp_path):
    shard(tmp_path / name(0), sample("a0"), sample("a1"))
    shard(tmp_path / name(1), sample("a2"), sample("a1"))
    (finding,) = lint(tmp_path)
    with tarfile.open(tmp_path / name(0)) as tar:
        offset = tar.getmember("a1.jpg").offset
    assert finding.rule == "unique-keys" and f"{name(0)} @{offset}" in finding.what and finding.file.endswith(name(1))
    assert rules(shard(tmp_path / "twice-val-000000.tar", sample("a"), sample("b"), sample("a"))) == {"unique-keys"}


@pytest.mark.parametrize(
    ("value", "rule", "words"),
    [
        ({**GOOD, "n": None}, "json-null", "n is null"),
        ({**GOOD, "score": 2}, "json-float", "score is int here and float in 'a0.json'"),
        ({**GOOD, "n": 1.5}, "json-float", "n is float here and int"),
        ({**GOOD, "n": "1"}, "json-types", "n is text here and int"),
        ({**GOOD, "crops": [1.0]}, "json-types", "crops[] is float here and list"),
        ({**GOOD, "crops": [[1.0, 2], [3, 4]]}, "json-float", "crops[][] is int here and float"),
        ({**GOOD, "more": 1}, "json-keys", "has a new 'more'"),
        ({"key": "a"}, "json-keys", "has no 'crops'"),
        ({**GOOD, "n": 1 << 70}, "json-types", "64 bits"),
        ([GOOD], "json-valid", "a list at the top"),
    ],
)
def test_json_of_one_schema(tmp_path, value, rule, words):
    findings = lint(shard(tmp_path / name(), sample("a0"), sample("a1", value)))
    assert [f.rule for f in findings] == [rule] and words in findings[0].what


def test_empty_lists_fit_any_type_but_mixed_lists_do_not(tmp_path):
    assert lint(shard(tmp_path / name(0), sample("a0", {"c": []}), sample("a1", {"c": [1.0]}))) == []
    assert rules(shard(tmp_path / name(1), sample("a0", {"c": [1.0, 2]}))) == {"json-float"}


@pytest.mark.parametrize(
    "data", [b"{", b"", b"\xff", b'{"a": NaN}', b'{"a": 1, "a": 2}', b"[" * 100_000, b'{"a": ' + b"1" * 5000 + b"}"]
)
def test_json_that_is_none(tmp_path, data):
    assert rules(shard(tmp_path / name(), sample("a0", json=data))) == {"json-valid"}


@pytest.mark.parametrize(
    ("extension", "data", "rule"),
    [
        ("pkl", b"x", "no-pickle"),
        ("pth", b"x", "no-pickle"),
        ("cls", pickle.dumps({"a": 1}), "no-pickle"),
        ("npy", npy(np.array([{}, None], object), allow_pickle=True), "no-pickle"),
        ("npy", ARRAY[:-3], "npy"),
        ("npy", ARRAY[:20], "npy"),
        ("npy", b"junk", "npy"),
        ("npy", b"", "npy"),
        ("npy", ARRAY.replace(b"<f4", b"<q9"), "npy"),
        ("npz", b"junk", "npy"),
        ("jpg", b"junk", "image"),
        ("jpg", b"", "image"),
        ("jpg", JPG[: len(JPG) // 2], "image"),
        ("png", JPG, "image"),
    ],
)
def test_bytes_of_members(tmp_path, extension, data, rule):
    assert rules(foreign(tmp_path / name(), [(f"a.{extension}", data)])) == {rule}


def test_an_npz_with_objects_is_a_pickle(tmp_path):
    sink = io.BytesIO()
    np.savez(sink, a=np.zeros(3), b=np.array([{}], object))
    assert rules(foreign(tmp_path / name(), [("a.npz", sink.getvalue())])) == {"no-pickle"}


def test_the_end_of_a_tar(tmp_path):
    data = shard(tmp_path / name(), sample("a0"), sample("a1")).read_bytes()
    path = tmp_path / "cut-val-000000.tar"

    def after(content):
        path.write_bytes(content)
        return rules(path)

    assert after(data[: -2 * BLOCK]) == {"end-blocks"} == after(data[:-BLOCK]) == after(data + b"\0")
    assert after(data + bytes(8192)) == set()
    assert after(data + data) == {"end-blocks"}
    assert "truncated" in after(data[: len(data) // 2]) and "truncated" in after(data[:-1500])
    padded = bytearray(data)
    padded[BLOCK + len(JPG)] = 1
    assert after(bytes(padded)) == {"padding"}


def test_one_broken_header_hides_one_member_only(tmp_path):
    path = shard(tmp_path / name(), *(sample(f"a{n}") for n in range(4)))
    with tarfile.open(path) as tar:
        offset = tar.getmember("a1.json").offset
    data = bytearray(path.read_bytes())
    data[offset + 3] ^= 1
    path.write_bytes(data)
    linter = Linter()
    findings = list(linter.run(find_shards([str(path)])))
    assert (findings[0].rule, findings[0].offset) == ("header", offset)
    assert {f.rule for f in findings} == {"header", "same-parts"} and linter.summary()["samples"] == 4


def test_names_of_shards(tmp_path):
    for text in ("set-train-000000.tar", "set-train-000003.tar", "set-train-4.tar", "set-train-000005.tmp.tar"):
        shard(tmp_path / text, sample(f"{text[10:16].replace('.', '-'):->6}"))
    (tmp_path / "set-train-000006.tar.partial.host.1").write_text("")
    (tmp_path / "labels.csv").write_text("")
    (tmp_path / "set-val-000000.tar.gz").write_bytes(b"\x1f\x8b\x08rest")
    findings = {(f.rule, os.path.basename(f.file)): f for f in lint(tmp_path)}
    assert "set-train-000001 to 000002 is missing" in findings["shard-numbers", "set-train-000003.tar"].what
    assert ("shard-name", "set-train-4.tar") in findings and ("temporary-name", "set-train-000005.tmp.tar") in findings
    assert findings["left-over", "set-train-000006.tar.partial.host.1"].severity == NOTE
    assert findings["beside", "labels.csv"].severity == NOTE
    assert findings["plain-tar", "set-val-000000.tar.gz"].severity == ERROR
    (tmp_path / "set-train-000000.tar").unlink()
    assert any("000000" in f.what for f in lint(tmp_path) if f.rule == "shard-numbers")


def test_many_findings_of_one_rule_are_summed_up(tmp_path):
    path = foreign(tmp_path / name(), [(f"A{n:02d}.txt", b"") for n in range(50)])
    linter = Linter()
    findings = list(linter.run(find_shards([str(path)])))
    assert len(findings) == 11 and "40 more" in findings[-1].what and linter.summary()["errors"] == 50


def test_nothing_to_lint_is_wrong_usage(tmp_path):
    with pytest.raises(UsageError, match="no tars at"):
        find_shards([str(tmp_path / "none*.tar")])


def test_garbage_of_every_kind_is_named_and_never_stops_it(tmp_path):
    rng = random.Random(0)
    good = shard(tmp_path / name(), *(sample(f"a{n}") for n in range(3))).read_bytes()
    path = tmp_path / "garbage-val-000000.tar"
    cases = [b"", b"\0" * 3, b"\0" * 512, b"\0" * 4096, b"junk" * 999, JPG, b"\x1f\x8b" + b"x" * 2000, b"\xff" * 1024]
    cases += [rng.randbytes(rng.randrange(5000)) for _ in range(20)]
    cases += [good[: rng.randrange(len(good) - 1030)] for _ in range(40)]
    for case in cases:
        path.write_bytes(case)
        assert lint(path), case[:20]
    for _ in range(250):
        flipped = bytearray(good)
        for _ in range(rng.choice((1, 1, 8, 200))):
            flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
        path.write_bytes(flipped)
        lint(path)
    for _ in range(150):  # damage that a header's checksum does not catch
        part = bytearray(rng.choice((JPG, ARRAY, json.dumps(GOOD).encode())))
        for _ in range(rng.choice((1, 4, 40))):
            part[rng.randrange(len(part))] ^= 1 << rng.randrange(8)
        foreign(path, sample("a0", **{extension: bytes(part) for extension in ("jpg", "json", "npy")}))
        lint(path)


def test_a_flipped_bit_in_the_first_header_hides_one_member(tmp_path):
    path = shard(tmp_path / "x-train-000000.tar", sample("k0"), sample("k1"))
    data = bytearray(path.read_bytes())
    data[3] ^= 1
    path.write_bytes(bytes(data))
    linter = Linter()
    found = list(linter.run(find_shards([str(path)])))
    assert "plain-tar" not in {finding.rule for finding in found} and linter.summary()["samples"] == 2
    assert any(finding.rule == "header" and finding.offset == 0 and "copy it again" in finding.fix for finding in found)


def test_a_doubled_member_says_that_webdataset_stops(tmp_path):
    path = foreign(tmp_path / "x-train-000000.tar", [("a.txt", b"1"), ("a.txt", b"2")])
    told = [finding.fix for finding in Linter().run(find_shards([str(path)])) if finding.rule == "same-parts"]
    assert told and "webdataset stops there with a ValueError" in told[0]
