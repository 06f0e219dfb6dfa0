"""Every page is true of this checkout: its commands, settings, options, paths, names and links.

The real command line parses each command and the real recipe its settings; nothing runs here (``test_docs_run.py`` runs what is
quick). Of other programs (Slurm, Ray, kubectl ...) only the ``procrop-data`` command within is checked.
"""

import ast
import functools
import importlib
import re
import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
import typer
from pydantic import BaseModel

from pipeline.app.recipe_for_run import recipe_for
from pipeline.cli.bench import BENCHMARKS, MODULES
from pipeline.core.errors import UsageError
from stages.recipe import Recipe
from tests.doc_pages import (
    HEADERS,
    OTHER_PROGRAMS,
    PAGES,
    PROGRAM,
    ROOT,
    blocks,
    inline_commands,
    name_of,
    program_arguments,
    shell_lines,
    spans,
    text_of,
    words_of,
)

PLACEHOLDER = re.compile(r"[A-Z]{2,}|\*")  # NAME, RUN, SPLIT: what the reader replaces
OTHER_OPTIONS = {"--array", "--cpu", "--glob", "--help", "--debug"}
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
PACKAGES = {"pipeline", "stages", "procrop_model", "benchmarks", "tests"}
SOURCES = {".py", ".md", ".yaml", ".sbatch"}  # a name that ends so is a file of the checkout
DATA = {
    ".json", ".jsonl", ".npy", ".onnx", ".parquet", ".pt", ".png", ".jpg", ".txt", ".html", ".csv", ".idx", ".mat", ".xmp",
    ".pth", ".safetensors",
}  # fmt: skip
FOLDERS = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")}
PRODUCTS = {"work", "crops"}  # folders that commands make beside the sources


@pytest.fixture(params=[*PAGES, *HEADERS], ids=name_of)
def page(request) -> Path:
    return request.param


def options_in(module: str) -> set[str]:
    """Options that the source of a benchmark names."""
    source = ROOT / "benchmarks" / f"{module}.py"
    assert source.is_file(), f"no benchmark {module}"
    tree = ast.parse(source.read_text(encoding="utf-8"))
    return {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and str(n.value).startswith("--")}


def options_of(command: Any) -> set[str]:
    """Options of a command and of its subcommands."""
    own = {option for p in command.params for option in (*p.opts, *p.secondary_opts)}
    return own.union(*(options_of(sub) for sub in getattr(command, "commands", {}).values()))


def check_benchmark(module: str, arguments: list[str]) -> None:
    unknown = {word for word in arguments if word.startswith("--")} - options_in(module)
    assert not unknown, f"benchmarks/{module}.py has no {sorted(unknown)}"


def check_settings(arguments: list[str], config: str = "") -> None:
    """The recipe has the keys of the overrides and accepts their values."""
    overrides = [word for word in arguments if re.match(r"[a-z_]+(\.[a-z_0-9]+)*=", word)]
    recipe_for(config, overrides)


def check_program(arguments: list[str], *, whole: bool) -> None:
    """The command line accepts the arguments, and the recipe their settings; nothing runs.

    Args:
        arguments: those of ``procrop-data``.
        whole: it is a command to copy; else the prose mentions it, maybe without its required arguments.
    """
    name, *rest = arguments
    if name == "--help":
        return
    command: Any = PROGRAM.commands.get(name)  # type: ignore[attr-defined]
    assert command is not None, f"procrop-data has no command {name}"
    while rest and rest[0] in getattr(command, "commands", {}):
        name, *rest = rest
        command = command.commands[name]
    if name == "bench":
        if rest and rest != ["--names"]:
            assert rest[0] in BENCHMARKS, f"no benchmark {rest[0]}"
            check_benchmark(MODULES.get(rest[0], rest[0].replace("-", "_")), rest[1:])
    elif whole:
        context = command.make_context(name, rest)
        check_settings(context.params.get("overrides") or [], context.params.get("config") or "")
    else:
        unknown = {word for word in rest if word.startswith("-")} - options_of(command) - OTHER_OPTIONS
        assert not unknown, f"{name} has no {sorted(unknown)}"
        check_settings([word for before, word in zip(["", *rest], rest, strict=False) if before[:2] != "--"])


def check_line(line: str, *, whole: bool) -> None:
    """A line of shell: commands of ours, benchmarks, make targets and extras exist; other programs are on our list."""
    words = words_of(line)
    first = next(word for word in words if not re.match(r"[A-Z_]+=|job=", word))
    commands = program_arguments(line)
    for arguments in commands:
        check_program(arguments, whole=whole)
    if benchmark := re.search(r"python (?:-m )?benchmarks[./](\w+)(?:\.py)?(.*)", " ".join(words)):
        check_benchmark(benchmark[1], words_of(benchmark[2]))
    elif extra := re.search(r"pip install .*\[(.+)\]", line):
        assert extra[1] in EXTRAS, f"no extra {extra[1]}"
    elif targets := re.findall(r"\bmake ((?:[a-z-]+ ?)+)", " ".join(words)):
        unknown = {target for words in targets for target in words.split()} - TARGETS
        assert not unknown, f"the Makefile has no {sorted(unknown)}"
    else:
        assert commands or first in {*OTHER_PROGRAMS, "procrop-data"} or first.startswith("'{"), (
            f"an unknown program: {line}"
        )


def test_shell_blocks_are_accepted(page):
    for line in shell_lines(page):
        check_line(line, whole=True)


def test_commands_in_the_prose_are_accepted(page):
    for line in inline_commands(page):
        check_line(line, whole=False)


def test_options_in_the_prose_exist(page):
    named = {word for span in spans(page) if span.startswith("--") for word in span.split() if word.startswith("--")}
    for block in blocks(page, "bash"):  # options in the comment of a command
        named.update(re.findall(r"# .*?(--[a-z][a-z-]+)", block))
    benchmarks = set().union(*(options_in(path.stem) for path in (ROOT / "benchmarks").glob("*.py")))
    names = {re.split(r"[=\\]", name)[0] for name in named}
    assert names <= options_of(PROGRAM) | benchmarks | OTHER_OPTIONS


def has_setting(model: Any, keys: list[str]) -> bool:
    """Whether a dotted name leads to a field, through any of the backends that may be chosen on the way."""
    if not keys:
        return True
    if isinstance(model, type) and issubclass(model, BaseModel):
        field = model.model_fields.get(keys[0])
        return field is not None and has_setting(field.annotation, keys[1:])
    rest = keys[1:] if get_origin(model) is dict else keys
    return any(has_setting(member, rest) for member in get_args(model))


def has_name(name: str) -> bool:
    """Whether a dotted name is a module, or a name in one, or an attribute of such a name."""
    owner, _, attribute = name.rpartition(".")
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        return bool(owner) and has_name(owner) and hasattr(value_of(owner), attribute)
    return True


def value_of(name: str) -> Any:
    owner, _, attribute = name.rpartition(".")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return getattr(value_of(owner), attribute)


def test_dotted_names_exist(page):
    """Settings such as ``outpaint.seam.match``, with or without a value; modules, and names in them."""
    missing = []
    for span in spans(page):
        matched = re.match(r"([a-z_]+(?:\.[A-Za-z_0-9*]+)+)(?:=\S*)?$", span)
        if matched is None or Path(matched[1]).suffix in SOURCES | DATA:
            continue
        keys = [key for key in matched[1].split(".") if not PLACEHOLDER.fullmatch(key)]
        if keys[0] in PACKAGES:
            known = has_name(".".join(keys))
        elif keys[0] in Recipe.model_fields:
            known = has_setting(Recipe, keys)
        else:  # an attribute of a variable of a block, or a setting of the page's own section
            known = name_of(page) != "docs/training.md" or has_setting(Recipe, ["train", *keys])
        missing += [] if known else [span]
    assert missing == []


@functools.cache
def tracked() -> tuple[str, ...]:
    """Files of the checkout: those that git knows and new ones, or, outside of git, all."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode == 0:
        return tuple(listed.stdout.splitlines())
    files = (path.relative_to(ROOT) for path in ROOT.rglob("*"))
    return tuple(str(path) for path in files if ".venv" not in path.parts)


def exists(span: str) -> bool:
    """Whether a path, or the last part of one, is in the checkout; a word in capitals (``ROLE/NAME.py``) stands for any name."""
    if any(file == span or file.endswith(f"/{span}") for file in tracked()) or (ROOT / span).exists():
        return True
    pattern = re.sub(r"[A-Z]{2,}", "*", span)
    return "/" in pattern and any(fnmatch(file, pattern) for file in tracked())


def test_paths_exist(page):
    """Source files by the end of their path, and whatever starts with a folder of the checkout."""
    named = [span for span in spans(page) if re.fullmatch(r"[\w.*/-]+", span)]
    paths = [n for n in named if Path(n).suffix in SOURCES or ("/" in n and n.split("/")[0] in FOLDERS - PRODUCTS)]
    assert [path for path in paths if not exists(path)] == []


def anchors(path: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    prose = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.S)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.+)$", prose, re.M)}


def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        file, _, anchor = target.partition("#")
        path = page.parent / file if file else page
        assert target.startswith("http") or path.exists(), target
        assert not anchor or target.startswith("http") or anchor in anchors(path), target


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda p: p.stem)
def test_recipes_start_with_their_command_time_and_result(path):
    head = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    assert re.match(r"# (make|procrop-data) ", head[0])
    assert "minutes" in " ".join(head) and "canvases" in " ".join(head)


@pytest.mark.parametrize(
    "line",
    [
        "procrop-data no-such-command",
        "procrop-data crop photo.jpg --no-such-option",
        "procrop-data run outpaint.no_such_setting=1",
        "procrop-data run outpaint.variants=many",
        "procrop-data bench no-such-benchmark",
        "procrop-data bench outpaint --no-such-option",
        "python -m benchmarks.fusion_compare --no-such-option",
        "sbatch examples/slurm/run.sbatch run --no-such-option",
        "make no-such-target",
        "pip install 'procrop-data[no-such-extra]'",
        "no-such-program",
    ],
)
def test_a_wrong_command_is_noticed(line):
    usage_error = typer.BadParameter.__mro__[1]
    with pytest.raises((AssertionError, UsageError, usage_error)):
        check_line(line, whole=True)


def test_a_wrong_name_is_noticed():
    assert not has_name("pipeline.no_such_module") and not has_name("pipeline.core.errors.NoSuchError")
    assert not has_setting(Recipe, ["outpaint", "no_such_setting"])
    assert not exists("stages/no_such_file.py") and not exists("no_such_folder/NAME.py")
    assert has_name("pipeline.core.errors.UsageError") and has_setting(Recipe, ["outpaint", "seam", "match"])
    assert has_name("pipeline.core.stage.Stage.settings") and exists("paint_checks.py")
