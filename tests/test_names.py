"""One public name has one meaning in the three packages, and values have types: ``Any`` stays rare."""

import ast
import re
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("pipeline", "stages", "procrop_model")
PROTOCOL = {"register", "__getattr__", "__dir__"}  # of each command module; of modules that import lazily
MOST_ANY = 200
MOST_UNTYPED_DICTS = 30


def sources():
    return {
        str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
        for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))
    }  # fmt: skip


def public_names(text):
    """Public classes and functions that a module defines."""
    defined = (node for node in ast.parse(text).body if isinstance(node, (ast.FunctionDef, ast.ClassDef)))
    return {node.name for node in defined if not node.name.startswith("_")} - PROTOCOL


def test_no_public_name_is_defined_in_two_modules():
    places = defaultdict(list)
    for path, text in sources().items():
        for name in public_names(text):
            places[name].append(path)
    assert {name: paths for name, paths in places.items() if len(paths) > 1} == {}


def test_any_stays_rare():
    text = "\n".join(sources().values())
    assert len(re.findall(r"\bAny\b", text)) <= MOST_ANY
    assert text.count("dict[str, Any]") <= MOST_UNTYPED_DICTS
