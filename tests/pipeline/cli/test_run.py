"""The commands that make the dataset: each option arrives where it belongs, and only there."""

from dataclasses import asdict, fields

import pytest
import typer
from typer.testing import CliRunner

from pipeline.cli import run
from pipeline.cli.run import VERBS, RunOptions

# What an option is given on the command line, and what a field of RunOptions holds then.
GIVEN = {
    "workers": (["--workers", "3"], 3),
    "executor": (["--executor", "array"], "array"),
    "address": (["--address", "head:6379"], "head:6379"),
    "with_upstream": (["--with-upstream"], True),
    "retry_failed": (["--retry-failed"], True),
    "reason": (["--reason", "truncated"], "truncated"),
    "accept_change": (["--accept-change"], True),
    "json": (["--json"], True),
    "quiet": (["--quiet"], True),
}
# Options that are no field: they change the recipe, or say which stages are done and where.
OF_THE_RECIPE = {"overrides", "config", "work", "until", "shards", "exclude_near", "with_model"}


def program() -> typer.Typer:
    app = typer.Typer()
    run.register(app)
    return app


def options_of(command: str) -> set[str]:
    group = typer.main.get_command(program())
    return {parameter.name for parameter in group.commands[command].params} - {"help"}  # type: ignore[attr-defined]


def received(monkeypatch, command: str, arguments: list[str]) -> tuple[list[str], RunOptions]:
    """Stages and options that the command hands on, with nothing done."""
    calls = []
    monkeypatch.setattr(run, "_work", lambda session, names, options: calls.append((names, options)))
    monkeypatch.setattr(run, "open_session", lambda *arguments, **more: None)
    monkeypatch.setattr(run, "_with_upstream", lambda session, name: ["ingest", name])
    result = CliRunner().invoke(program(), [command, *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return calls[0]


def test_every_option_is_known_here():
    assert {field.name for field in fields(RunOptions)} == set(GIVEN)
    for command in ("run", *VERBS):
        assert options_of(command) <= set(GIVEN) | OF_THE_RECIPE, command


@pytest.mark.parametrize("command", ["run", *VERBS])
def test_without_options_all_are_defaults(monkeypatch, command):
    names, options = received(monkeypatch, command, [])
    assert names == (list(VERBS) if command == "run" else [command])
    assert options == RunOptions()


@pytest.mark.parametrize(
    ("command", "option"),
    [(command, option) for command in ("run", *VERBS) for option in sorted(options_of(command) & set(GIVEN))],
)
def test_an_option_arrives_at_its_own_field_alone(monkeypatch, command, option):
    arguments, value = GIVEN[option]
    names, options = received(monkeypatch, command, arguments)
    assert asdict(options) == {**asdict(RunOptions()), option: value}
    if option == "with_upstream":
        assert names == ["ingest", command]
