"""Imports point down, with no cycle; CONTRIBUTING has the table."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("pipeline", "stages", "procrop_model")
LOW = {"geometry", "errors", "seeds", "memory", "patience"}
RECORDS = {"records", "stage", "settings", "resources", "contact_sheet", "needs", "remote", "webhdfs"}
FILES = {"config", "shards", "tables", "receipts", "storage", "storage_remote", "journal", "locks", "plan", "run"}
FILES |= {
    "hashed_file",
    "shard_index",
    "shard_set",
    "shard_writer",
    "epoch_order",
    "storage_hadoop",
    "uploads",
    "fetched",
}
DOING = {
    "work",
    "overlap",
    "crashed",
    "isolation",
    "steps",
    "runner",
    "flow",
    "census",
    "shares",
    "funnel",
    "executors",
    "report",
    "ledger",
    "forecast",
    "scale",
    "simulation",
    "receipt_bytes",
    "verify",
    "repair",
    "todo",
    "changes",
}
DOING |= {"lint", "lint_names", "lint_tar", "lint_json", "lint_content"}
MODEL_MAY = {"geometry", "records", "shards", "shard_set", "epoch_order", "errors", "seeds", "resources"}


def modules():
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            yield name, ast.parse(path.read_text(encoding="utf-8"))


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
            found = [n for n in names if module_exists(n)] or [node.module]
            for name in found:
                yield name, id(node) in inside
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] in PACKAGES:
                    yield alias.name, id(node) in inside


def module_exists(name):
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


GRAPH = {name: list(project_imports(tree)) for name, tree in modules()}
STAGES = {"ingest", "dedup", "caption", "outpaint", "propose", "refine", "filter", "build", "embed", "retrieve"}


def allowed(importer, imported):
    top, part = importer.split(".")[0], [*importer.split("."), ""][1]
    to, to_part = imported.split(".")[0], [*imported.split("."), ""][1]
    if importer.startswith("pipeline.cli"):
        return True
    if top == "pipeline":
        below = set()
        for layer in (LOW, RECORDS, FILES, DOING):
            below |= layer
            if part in layer or not part:
                return to == "pipeline" and (to_part in below or not to_part)
        return False
    if top == "procrop_model":
        return to == "procrop_model" or (to == "pipeline" and to_part in MODEL_MAY)
    if to == "procrop_model":
        return True
    if to == "pipeline":
        return to_part in LOW | RECORDS | {"tables"}
    if part == "recipe" or part not in STAGES:
        return True
    return to_part not in STAGES or to_part == part


@pytest.mark.parametrize("importer", sorted(GRAPH))
def test_imports_point_down(importer):
    wrong = [imported for imported, _ in GRAPH[importer] if not allowed(importer, imported)]
    assert wrong == []


def test_function_level_imports_are_the_command_lines_alone():
    inner = {
        name: [to for to, inside in found if inside] for name, found in GRAPH.items() if "pipeline.cli" not in name
    }
    assert {name: found for name, found in inner.items() if found} == {"pipeline.storage": ["pipeline.storage_remote"]}


def test_there_is_no_cycle():
    done, path = set(), []

    def visit(name):
        if name in path:
            raise AssertionError(" -> ".join([*path[path.index(name) :], name]))
        if name in done or name not in GRAPH:
            return
        path.append(name)
        for to, _ in GRAPH[name]:
            visit(to)
        path.pop()
        done.add(name)

    for name in GRAPH:
        if not name.startswith("pipeline.cli"):
            visit(name)
    assert len(done) > 50


def test_a_recipe_is_read_without_torch_and_help_without_much():
    heavy = "('torch', 'diffusers', 'transformers', 'timm')"
    code = f"import sys, {{}}; found = [m for m in {heavy} if m in sys.modules]; assert not found, found"
    for module in ("stages.recipe", "pipeline.cli.app"):
        subprocess.run([sys.executable, "-W", "error", "-c", code.format(module)], check=True, cwd=ROOT)


def test_no_file_is_a_crowded_room():
    lengths = {
        str(p.relative_to(ROOT)): len(p.read_text().splitlines()) for n in PACKAGES for p in (ROOT / n).rglob("*.py")
    }
    assert {name: length for name, length in lengths.items() if length > 300} == {}
