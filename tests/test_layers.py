"""Folders are layers: imports point down, with no cycle. CONTRIBUTING has the table of what a folder may import."""

import ast
import re
import subprocess
import sys
from collections import defaultdict
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("pipeline", "stages", "procrop_model")
EDGE = ("pipeline.app", "pipeline.cli")  # where imports inside functions are wanted
ROW = re.compile(r"^\| `([\w/]+)` \| .+? \| (.*?) ?\|$", re.MULTILINE)
MAX_LINES = 300
MAX_MODULES = 20
MANY_MODULES = {"procrop_model.training": 28, "pipeline.cli": 28}


def table():
    """Folder -> folders that its row names; ``None`` for anything."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = {folder.replace("/", "."): cell for folder, cell in ROW.findall(text)}
    return {
        folder: None if "anything" in cell else {name.replace("/", ".") for name in re.findall(r"`([\w/]+)`", cell)}
        for folder, cell in rows.items()
    }


def closure(rows):
    """Folder -> every folder that it may import, itself included."""
    order = TopologicalSorter({folder: named or () for folder, named in rows.items()}).static_order()
    below = {}
    for folder in order:
        below[folder] = {folder}.union(*(below[name] for name in rows[folder] or ()))
    return below


def modules():
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            yield name, ast.parse(path.read_text(encoding="utf-8"))


def is_folder(name):
    return (ROOT.joinpath(*name.split(".")) / "__init__.py").is_file()


def folder_of(name):
    return name if is_folder(name) else name.rpartition(".")[0]


def is_module(name):
    return ROOT.joinpath(*name.split(".")).with_suffix(".py").is_file() or is_folder(name)


def project_imports(tree):
    """(module, whether it is inside a function) of each import of ours, type-checking ones left out."""
    hidden = {
        id(inner) for node in ast.walk(tree)
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING" for inner in ast.walk(node)
    }  # fmt: skip
    inside = {id(inner) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in PACKAGES:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            for name in [n for n in names if is_module(n)] or [node.module]:
                yield name, id(node) in inside
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] in PACKAGES:
                    yield alias.name, id(node) in inside


GRAPH = {name: list(project_imports(tree)) for name, tree in modules()}
TABLE = table()
STAGES = {
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
}


def test_the_table_has_every_folder_and_no_other():
    folders = {folder_of(name) for name in GRAPH}
    empty = {"pipeline", "stages.backends.outpainters"}  # nothing in them but folders
    assert folders - empty == set(TABLE)


@pytest.mark.parametrize("folder", sorted(f for f in TABLE if not f.startswith(EDGE)))
def test_a_folder_imports_what_its_row_says(folder):
    may = closure(TABLE)[folder]
    wrong = {
        f"{name} -> {to}" for name in GRAPH if folder_of(name) == folder for to, _ in GRAPH[name]
        if folder_of(to) not in may | {"pipeline"}
    }  # fmt: skip
    assert wrong == set()


@pytest.mark.parametrize("edge", EDGE)
def test_nobody_below_imports_the_edge(edge):
    above = EDGE[EDGE.index(edge) :]
    importers = {name for name in GRAPH for to, _ in GRAPH[name] if to.startswith(edge) and not name.startswith(above)}
    assert importers == set()


def test_stages_never_import_one_another():
    stages = {f"stages.{name}" for name in STAGES}
    wrong = {f"{name} -> {to}" for name in stages for to, _ in GRAPH[name] if to in stages - {name}}
    assert wrong == set()


def test_function_level_imports_are_the_edges_alone():
    inner = {name: [to for to, inside in to_all if inside] for name, to_all in GRAPH.items()}
    assert {name: to for name, to in inner.items() if to and not name.startswith(EDGE)} == {}


def test_there_is_no_cycle_of_modules_or_folders():
    between = defaultdict(set)
    for name, to_all in GRAPH.items():
        between[folder_of(name)] |= {folder_of(to) for to, _ in to_all} - {folder_of(name)}
    for graph in ({name: {to for to, _ in to_all} for name, to_all in GRAPH.items()}, between):
        assert len(list(TopologicalSorter(graph).static_order())) > 20  # CycleError names the circle


def test_no_folder_is_crowded():
    count = defaultdict(int)
    for name in GRAPH:
        count[folder_of(name)] += not is_folder(name)
    assert {f: n for f, n in count.items() if n > MANY_MODULES.get(f, MAX_MODULES)} == {}


def test_recipes_help_and_exported_croppers_need_no_torch():
    heavy = "('torch', 'diffusers', 'transformers', 'timm')"
    code = f"import sys, {{}}; loaded = [m for m in {heavy} if m in sys.modules]; assert not loaded, loaded"
    for module in ("stages.recipe", "pipeline.cli.app", "procrop_model.cropper"):
        subprocess.run([sys.executable, "-W", "error", "-c", code.format(module)], check=True, cwd=ROOT)


def test_no_file_is_long():
    lengths = {
        str(p.relative_to(ROOT)): len(p.read_text().splitlines()) for n in PACKAGES for p in (ROOT / n).rglob("*.py")
    }
    assert {name: length for name, length in lengths.items() if length > MAX_LINES} == {}
