"""The demo is run, train, eval and report, on the photographs that it is given."""

import typer
from typer.testing import CliRunner

from pipeline.cli import eval as evaluation
from pipeline.cli import run, status, train
from pipeline.cli.app import app
from pipeline.core.errors import UsageError


def demo(monkeypatch, *words: str, fails: bool = False) -> tuple[int, list[tuple[str, object]]]:
    """Exit code, and the requests that the four commands were given."""
    made: list[tuple[str, object]] = []

    def recorder(name: str, end: bool = False):
        def record(request: object, output: object) -> None:
            made.append((name, request))
            if end:
                raise typer.Exit(3)

        return record

    monkeypatch.setattr(run, "_run", recorder("run", fails))
    for module, handler in ((train, "_train"), (evaluation, "_evaluate"), (status, "_report")):
        monkeypatch.setattr(module, handler, recorder(handler[1:]))
    return CliRunner().invoke(app, ["demo", *words]).exit_code, made


def test_own_photographs_go_the_whole_way(monkeypatch):
    code, made = demo(monkeypatch, "--photos", "my photos", "--work", "w")
    assert code == 0 and [name for name, _ in made] == ["run", "train", "evaluate", "report"]
    request = made[0][1]
    assert (request.config, request.work, list(request.overrides)) == ("demo", "w", ["ingest.source=my photos"])
    assert {request.work for _, request in made} == {"w"}


def test_a_split_without_a_canvas_does_not_stop_the_report(monkeypatch):
    def refuse(request: object, output: object) -> None:
        raise UsageError("the dataset has no sample of the split 'test'")

    made: list[str] = []
    for module, handler in ((run, "_run"), (train, "_train"), (status, "_report")):
        monkeypatch.setattr(module, handler, lambda *_, name=handler: made.append(name))
    monkeypatch.setattr(evaluation, "_evaluate", refuse)
    result = CliRunner().invoke(app, ["demo"])
    assert result.exit_code == 0 and made == ["_run", "_train", "_report"]
    assert "was not measured: the dataset has no sample" in result.stderr


def test_failed_photographs_do_not_stop_the_demo(monkeypatch):
    code, made = demo(monkeypatch, fails=True)
    assert code == 3 and len(made) == 4 and list(made[0][1].overrides) == []
