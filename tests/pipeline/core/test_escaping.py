"""What files say stays text wherever it is written: YAML, Markdown, HTML, XML, CSV, a terminal."""

import csv
import io
import json
from xml.etree import ElementTree

import pytest
import yaml
from rich.table import Table

from pipeline.app.crop_files.outputs import write_csv
from pipeline.app.progress import Display
from pipeline.cli.options import print_json
from pipeline.core.console import cell, plain_console
from pipeline.core.escaping import csv_cell, html_text, markdown_text, one_line, printable, xml_attribute, yaml_text

NASTY = [
    "CC-BY-4.0: x", "a\nlicense: mit", "a | b", "<script>alert(1)</script>", "[/a]", "[link=http://x]a[/link]", "=1+1", "@SUM(A1)",
    "-2+3", "+1", "\x1b[31mred\x1b[0m", "\u202egnp.exe", "a\u2028b", "caf\udce9",
    "# comment", "*a", "&b", "!tag", "'", '"', "\\", "- x",
    "{{ 7*7 }}", "{a: 1}", "%x", "`", "a\0b", "\ufffe", "\x85", ":smile:", "---", "null", "yes", "", " lead", "x" * 3000, "😀 Ünï",
]  # fmt: skip


@pytest.mark.parametrize("text", NASTY)
def test_text_stays_text(text):
    line = one_line(text)
    assert "\n" not in line and "\x1b" not in line and isinstance(line.encode(), bytes)
    assert yaml.safe_load(f"a: {yaml_text(text)}\nb: 1") == {"a": line, "b": 1}
    assert ElementTree.fromstring(f"<a b={xml_attribute(text)}/>").get("b") == line
    assert "<" not in html_text(text) and isinstance(html_text(text).encode(), bytes)
    row = f"| {markdown_text(text)} | 1 |"
    assert len(row.replace("\\\\", "").replace("\\|", "").split("|")) == 4 and "<" not in row and "\n" not in row
    shown = printable(text)
    assert not any(ord(mark) < 32 for mark in shown) and isinstance(shown.encode(), bytes)
    sink = io.StringIO()
    csv.writer(sink).writerow([csv_cell(text)])
    assert not next(csv.reader([sink.getvalue()]))[0].startswith(("=", "+", "-", "@", "\t", "\r"))


def test_odd_bytes_and_controls_are_shown_escaped():
    assert printable("caf\udce9 \x1b[1m \n é") == "caf\\xe9 \\x1b[1m \\n é" and csv_cell(-1.5) == -1.5


@pytest.mark.parametrize("text", NASTY)
def test_a_terminal_shows_names_as_they_are(text, capsys):
    console = plain_console(width=4000)
    table = Table("file")
    table.add_row(cell(text))
    console.print(table)
    assert printable(text).strip() in capsys.readouterr().out
    display = Display(quiet=False)
    display.lost_files([{"stage": "ingest", "status": "rejected", "reason": "x", "key": "k", "detail": text}])
    display.message(text)
    assert "\x1b[31m" not in capsys.readouterr().err


def test_tables_of_crops_hold_no_formula(tmp_path):
    crop = {"box_px": [0, 0, 1, 1], "score": -0.5, "aspect": 1.0}
    good = {"file": "=cmd|'/c calc'!A1.jpg", "crops": [crop], "files": ["-out\udce9.jpg"]}
    write_csv([good, {"file": "@x", "crops": [], "files": [], "error": "+1\n2"}], tmp_path / "out.csv")
    with open(tmp_path / "out.csv", encoding="utf-8", newline="") as file:
        first, second = csv.DictReader(file)
    assert (
        first["file"] == "'=cmd|'/c calc'!A1.jpg"
        and first["written_to"] == "'-out\\xe9.jpg"
        and first["score"] == "-0.5"
    )
    assert (second["file"], second["error"]) == ("'@x", "'+1\\n2")


def test_json_of_an_odd_name_is_json(capsys):
    print_json({"file": "caf\udce9 é"})
    out = capsys.readouterr().out
    assert json.loads(out) == {"file": "caf\udce9 é"} and "é" in out
