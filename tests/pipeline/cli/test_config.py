"""``config show``: keys of a recipe as text and as JSON."""

import json

import pytest
from typer.testing import CliRunner

from pipeline.cli.app import app
from pipeline.cli.config import indented, shown_keys
from pipeline.core.errors import UsageError


def test_keys_are_printed_with_default_type_and_meaning():
    done = CliRunner(env={"COLUMNS": "80"}).invoke(
        app, ["config", "show", "--config", "demo", "outpaint", "models.scorer=laion"]
    )
    lines = done.stdout.splitlines()
    assert done.exit_code == 0 and lines[0] == "outpaint.variants = 2   (a whole number, 1 to 99; default 4)"
    assert lines[1] == "    canvases of each photo in the train split."
    assert not any(line.startswith("models") for line in lines)


def test_json_has_every_key(tmp_path):
    done = CliRunner().invoke(app, ["config", "show", "--json", "--config", "sdxl", "--work", str(tmp_path)])
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert rows["models.scorer.kind"]["value"] == "laion" and rows["work_shards"]["default"] == "8"


def test_an_unknown_key_names_a_close_one(tmp_path):
    assert [key.value for key in shown_keys("", str(tmp_path), ["models.scorer=laion", "models.scorer.kind"])] == [
        "laion"
    ]
    with pytest.raises(UsageError, match=r"no key 'outpant' \(did you mean 'outpaint'\?\)"):
        shown_keys("", str(tmp_path), ["outpant"])


def test_meanings_are_wrapped():
    assert indented("one two", 9) == ["    one", "    two"] and indented("one two", 0) == ["    one two"]
