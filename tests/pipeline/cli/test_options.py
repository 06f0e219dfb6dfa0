"""Every option of every command: it reaches its own field of the request that the command hands on, and no other field."""

from dataclasses import asdict, dataclass, is_dataclass

import click
import pytest
import typer
from typer.testing import CliRunner

from pipeline.cli import audit, bench, config, convert, crop, demo, doctor, export, plan, run, status, train, verify
from pipeline.cli import eval as evaluation
from pipeline.cli.app import app
from pipeline.cli.options import OutputOptions


@dataclass(frozen=True)
class Case:
    """module, handler: the one function that a command calls. needed: arguments that it cannot be called without."""

    module: object
    handler: str
    needed: tuple[str, ...] = ()


STAGES = (
    "ingest",
    "perceive",
    "dedup",
    "caption",
    "outpaint",
    "propose",
    "refine",
    "filter",
    "build",
    "embed",
    "retrieve",
)
COMMANDS = {
    **{name: Case(run, "_run") for name in ("run", *STAGES)},
    "demo": Case(demo, "_demo"),
    "plan": Case(plan, "_plan"),
    "crop": Case(crop, "_crop", ("photo.jpg",)),
    "export": Case(export, "_export"),
    "train": Case(train, "_train"),
    "train-bundled": Case(train, "_train_bundled"),
    "train-scorer": Case(train, "_train_scorer"),
    "train-outpainter": Case(train, "_train_outpainter"),
    "eval": Case(evaluation, "_evaluate"),
    "convert": Case(convert, "_convert", ("--out", "converted")),
    "status": Case(status, "_status"),
    "report": Case(status, "_report"),
    "verify": Case(verify, "_verify"),
    "lint": Case(verify, "_lint", ("shards",)),
    "audit seam": Case(audit, "_audit_seam"),
    "audit paint": Case(audit, "_audit_paint"),
    "models": Case(doctor, "_models"),
    "doctor": Case(doctor, "_doctor"),
    "download": Case(doctor, "_download"),
    "config show": Case(config, "_show"),
    "bench": Case(bench, "_run_benchmark", ("decode",)),
}
# By option: what is written on the command line, and the fields that change with their values.
VALUES = {
    "overrides": (["seed=3", "train.epochs=1"], {"overrides": ["seed=3", "train.epochs=1"]}),
    "config": (["--config", "demo"], {"config": "demo"}),
    "work": (["--work", "elsewhere"], {"work": "elsewhere"}),
    "workers": (["--workers", "3"], {"workers": 3}),
    "json": (["--json"], {"json": True}),
    "quiet": (["--quiet"], {"quiet": True}),
    "device": (["--device", "cuda:1"], {"device": "cuda:1"}),
    "model": (["--model", "a/cropper"], {"model": "a/cropper"}),
    "out": (["--out", "a/folder"], {"out": "a/folder"}),
    "dataset": (["--dataset", "flms"], {"dataset": "flms"}),
    "root": (["--root", "a/set"], {"root": "a/set"}),
    "split": (["--split", "val"], {"split": "val"}),
    "seed": (["--seed", "7"], {"seed": 7}),
    "recalibrate": (["--recalibrate", "a/run"], {"recalibrate": "a/run"}),
    "photos": (["--photos", "a/folder"], {"photos": "a/folder"}),
    "batch": (["--batch", "5"], {"batch": 5}),
    "size": (["--size", "80"], {"size": 80}),
    "measure": (["--measure"], {"measure": True}),
    "shards": (["--shards", "9"], {"shards": 9}),
    "canvases": (["--canvases", "12"], {"canvases": 12}),
    # run and the stages
    "until": (["--until", "filter"], {"until": "filter"}),
    "executor": (["--executor", "array"], {"executor": "array"}),
    "address": (["--address", "head:6379"], {"address": "head:6379"}),
    "with_upstream": (["--with-upstream"], {"with_upstream": True}),
    "retry_failed": (["--retry-failed"], {"retry_failed": True}),
    "reason": (["--reason", "truncated"], {"reason": "truncated"}),
    "exact": (["--exact"], {"exact": True}),
    "accept_change": (["--accept-change"], {"accept_change": True}),
    "accept_takedown": (["--accept-takedown"], {"accept_takedown": True}),
    "exclude_near": (["--exclude-near", "a", "--exclude-near", "b"], {"exclude_near": ["a", "b"]}),
    "licence_policy": (["--licence-policy", "strict"], {"licence_policy": "strict"}),
    "with_model": (["--with-model", "a/cropper"], {"with_model": "a/cropper"}),
    # plan
    "variants": (["--variants", "2"], {"variants": 2}),
    "currency": (["--currency", "EUR"], {"currency": "EUR"}),
    "price": (["--price", "0.5"], {"price": 0.5}),
    "gpus": (["--gpus", "4"], {"gpus": 4}),
    "gpu_price": (["--gpu-price", "1.5"], {"gpu_price": 1.5}),
    "rate": (["--rate", "outpaint=2", "--rate", "embed=9"], {"rate": ["outpaint=2", "embed=9"]}),
    "simulate": (["--simulate"], {"simulate": True}),
    "lost": (["--lost", "0.5"], {"lost": 0.5}),
    "away": (["--away", "20"], {"away": 20.0}),
    "start": (["--start", "30"], {"start": 30.0}),
    # crop
    "aspect": (["--aspect", "4:5"], {"aspect": "4:5"}),
    "format": (["--format", "png"], {"format": "png"}),
    "quality": (["--quality", "80"], {"quality": 80}),
    "lossless": (["--lossless"], {"lossless": True}),
    "keep_gps": (["--keep-gps"], {"keep_gps": True}),
    "name": (["--name", "{name}_{n}"], {"name": "{name}_{n}"}),
    "overwrite": (["--overwrite"], {"overwrite": True}),
    "upscale": (["--upscale"], {"upscale": True}),
    "top": (["--top", "2"], {"top": 2}),
    "min_size": (["--min-size", "80x60"], {"min_size": "80x60"}),
    "keep": (["--keep", "0,0,9,9", "--keep", "1,1,5,5"], {"keep": ["0,0,9,9", "1,1,5,5"]}),
    "keep_file": (["--keep-file", "faces.csv"], {"keep_file": "faces.csv"}),
    "keep_subject": (["--keep-subject", "0.7"], {"keep_subject": "0.7"}),
    "margin": (["--no-crop-if-better-below", "0.25"], {"margin": 0.25}),
    "faces": (["--faces", "off"], {"faces": "off"}),
    "explain": (["--explain"], {"explain": True}),
    "reference_photos": (["--reference-photos", "a/folder"], {"reference_photos": "a/folder"}),
    "csv": (["--csv", "table.csv"], {"csv": "table.csv"}),
    "xmp": (["--xmp"], {"xmp": True}),
    "again": (["--again"], {"again": True}),
    "encoder_checkpoint": (["--encoder-checkpoint", "a/file"], {"encoder_checkpoint": "a/file"}),
    "precision": (["--precision", "bf16"], {"precision": "bf16"}),
    "save": (["--no-save"], {"save": False}),
    "references": (["--references", "9"], {"references": 9}),
    # train-outpainter
    "steps": (["--steps", "11"], {"steps": 11}),
    "width": (["--width", "32"], {"width": 32}),
    "resume": (["--no-resume"], {"resume": False}),
    # eval and convert
    "protocol": (["--protocol", "cacnet"], {"protocol": "cacnet"}),
    "names": (["--names", "names.txt"], {"names": "names.txt"}),
    "half": (["--half", "check"], {"half": "check"}),
    "groups": (["--groups", "groups.csv"], {"groups": "groups.csv"}),
    "long_side": (["--long-side", "640"], {"long_side": 640}),
    "quick": (["--quick"], {"quick": True}),
    "refit_calibration": (["--refit-calibration"], {"refit_calibration": True}),
    "boxes": (["--boxes", "boxes.csv"], {"boxes": "boxes.csv"}),
    "scorer": (["--scorer", "nima"], {"scorer": "nima"}),
    "ablate": (["--ablate", "k,text"], {"ablate": "k,text"}),
    "ablate_epochs": (["--ablate-epochs", "6"], {"ablate_epochs": 6}),
    "source": (["--from", "a/run"], {"source": "a/run"}),
    "to": (["--to", "cad"], {"to": "cad"}),
    # status, verify, lint
    "failed": (["--failed"], {"failed": True}),
    "missing": (["--missing"], {"missing": True}),
    "slurm": (["--slurm"], {"slurm": True}),
    "stage": (["--stage", "refine"], {"stage": "refine"}),
    "repair": (["--repair"], {"repair": True}),
    "provenance": (["--provenance"], {"provenance": True}),
    "paths": (["more", "shards"], {"paths": ["shards", "more", "shards"]}),
    # audit
    "treat": (["--treat", "match=0.5", "--treat", "noise=3"], {"treat": ["match=0.5", "noise=3"]}),
    "compare": (["--compare"], {"compare": True}),
    "patch": (["--patch", "16"], {"patch": 16}),
    "folds": (["--folds", "4"], {"folds": 4}),
    "network": (["--no-network"], {"network": False}),
    "share": (["--share", "0.02"], {"share": 0.02}),
    # models
    "calibrate": (["--calibrate"], {"calibrate": True}),
    "only_print": (["--print"], {"only_print": True}),
    # config
    "words": (["models.scorer", "seed=3"], {"words": ["models.scorer", "seed=3"]}),
}
# Where a command uses the name of an option with another type, or derives a second field from it.
SPECIAL = {
    ("plan", "photos"): (["--photos", "50"], {"photos": 50}),
    ("train-bundled", "photos"): (["--photos", "a", "--photos", "b"], {"photos": ["a", "b"]}),
    ("crop", "photos"): (["b.jpg"], {"photos": ["photo.jpg", "b.jpg"]}),
    ("crop", "size"): (["--size", "80x100"], {"size": "80x100"}),
    ("crop", "json"): (["--json"], {"json": True, "explain_entries": True}),
}


def commands() -> dict[str, click.Command]:
    """Every command of the program by name; ``audit seam`` for a command of a group."""
    found: dict[str, click.Command] = {}
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", None)
        found |= {f"{name} {word}": one for word, one in inner.items()} if inner else {name: command}
    return found


def options_of(command: str) -> list[str]:
    return sorted(str(parameter.name) for parameter in commands()[command].params if parameter.name != "help")


def received(monkeypatch: pytest.MonkeyPatch, command: str, arguments: list[str]) -> dict[str, object]:
    """The fields of everything that the command hands to its handler, which is replaced."""
    calls: list[tuple[object, ...]] = []
    case = COMMANDS[command]
    monkeypatch.setattr(case.module, case.handler, lambda *handed: calls.append(handed))
    result = CliRunner().invoke(app, [*command.split(), *case.needed, *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    (handed,) = calls
    if command == "bench":
        return dict(zip(("name", "arguments"), handed, strict=True))
    fields: dict[str, object] = {}
    for value in handed:
        body = asdict(value) if is_dataclass(value) and not isinstance(value, type) else {"csv": value}
        assert not set(body) & set(fields), "a field has one place"
        fields |= body
    return fields


def test_the_program_has_these_commands_and_no_other() -> None:
    assert set(commands()) == set(COMMANDS)


def test_the_stage_commands_are_those_of_the_recipe() -> None:
    assert tuple(run.HELP) == STAGES


@pytest.mark.parametrize("command", COMMANDS)
def test_defaults_are_those_of_the_request(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    """A request made from Python means the same as the command without options."""
    if command == "bench":
        return
    calls: list[tuple[object, ...]] = []
    case = COMMANDS[command]
    monkeypatch.setattr(case.module, case.handler, lambda *handed: calls.append(handed))
    CliRunner().invoke(app, [*command.split(), *case.needed], catch_exceptions=False)
    request, output = calls[0][:2]
    given = {"crop": {"photos": ["photo.jpg"]}, "convert": {"out": "converted"}, "lint": {"paths": ["shards"]}}
    if command in STAGES:
        given[command] = {"stage": command}  # type: ignore[dict-item]
    assert request == type(request)(**given.get(command, {}))
    assert output == OutputOptions()


@pytest.mark.parametrize(
    ("command", "option"), [(c, option) for c in COMMANDS if c != "bench" for option in options_of(c)]
)
def test_an_option_reaches_its_own_field_alone(monkeypatch: pytest.MonkeyPatch, command: str, option: str) -> None:
    arguments, changed = (
        SPECIAL.get((command, option)) or VALUES[option]
    )  # KeyError: a new option that is not tested yet
    before = received(monkeypatch, command, [])
    assert all(before[name] != value for name, value in changed.items())
    assert received(monkeypatch, command, arguments) == {**before, **changed}


def test_what_follows_the_name_of_a_benchmark_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert options_of("bench") == ["name"]
    passed = received(monkeypatch, "bench", ["--size", "3", "--help"])
    assert passed == {"name": "decode", "arguments": ["--size", "3", "--help"]}
