"""The help lists every command in a group, and crop first."""

from typer.testing import CliRunner

from pipeline.cli.app import app
from pipeline.cli.command_groups import ORDER
from tests.doc_pages import PROGRAM


def test_every_command_is_in_a_group():
    assert sorted(PROGRAM.commands) == sorted(ORDER)


def test_the_help_has_the_groups_with_crop_first():
    shown = CliRunner(env={"COLUMNS": "120"}).invoke(app, ["--help"]).output
    titles = ["Crop photographs", "Make a dataset", "Look at it", "Check it", "Train", "Measure"]
    places = [shown.index(f"─ {title} ─") for title in titles]
    assert places == sorted(places)
    assert "Exit codes: 0 done" in shown


def test_the_version_is_printed():
    assert CliRunner().invoke(app, ["--version"]).output.startswith("procrop-data 0.")
