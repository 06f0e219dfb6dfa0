"""Checks that the JSON of all samples has one schema: HF datasets infers types from the first rows, then silently drops later
keys and truncates integers (DESIGN 5.4).
"""

import json
from collections.abc import Callable

from pipeline.core.json_types import Json, JsonObject

# report(rule, what, fix)
Report = Callable[[str, str, str], None]
MAX_PATHS = 20_000  # bounds the memory for JSON whose keys are data
INT64 = 1 << 63
NULL_FIX = 'write "" for text, -1 for numbers, [] for lists'


class JsonSchema:
    """The schema of the first sample, and how later samples differ from it."""

    def __init__(self) -> None:
        self._kinds: dict[str, tuple[str, str]] = {}
        self._keys: dict[str, tuple[frozenset[str], str]] = {}

    def check(self, data: bytes, where: str, report: Report) -> None:
        """Check the JSON of one sample; never raises for any bytes. where: names the sample in messages."""
        try:
            value = json.loads(data.decode("utf-8"), object_pairs_hook=_unique_keys, parse_constant=_reject_constant)
        except (ValueError, RecursionError) as error:
            report(
                "json-valid",
                f"not JSON: {' '.join(str(error).split())[:120]}",
                "write UTF-8 JSON without NaN or doubled keys",
            )
            return
        if not isinstance(value, dict):
            report("json-valid", f"a {_kind(value)} at the top, want an object", "write one object a sample")
            return
        try:
            self._check_value(value, "", where, _Once(report))
        except RecursionError:
            report("json-types", "nested too deep", "flatten it")

    def _check_value(self, value: Json, path: str, where: str, report: "_Once") -> None:
        kind = _kind(value)
        if kind == "null":
            report(f"json-null {path}", f"{path} is null", NULL_FIX)
            return
        first = self._kinds.get(path)
        if first is None and len(self._kinds) < MAX_PATHS:
            self._kinds[path] = (kind, where)
        elif first is not None and first[0] != kind:
            self._differs(path, kind, first, report)
            return
        if isinstance(value, dict):
            self._check_object(value, path, where, report)
        elif isinstance(value, list):
            for item in value:
                self._check_value(item, f"{path}[]", where, report)
        elif isinstance(value, int) and not -INT64 <= value < INT64:
            report(f"json-types {path}", f"{path} does not fit 64 bits", "write it as text")

    def _check_object(self, value: JsonObject, path: str, where: str, report: "_Once") -> None:
        keys = frozenset(value)
        first, place = self._keys.setdefault(path, (keys, where))
        if keys != first:
            changes = [f"has no {key!r}" for key in sorted(first - keys)] + [
                f"has a new {k!r}" for k in sorted(keys - first)
            ]
            what = f"{path or 'it'} {', '.join(changes[:6])} (against {place})"
            report(
                f"json-keys {path}", what, "give every sample the same keys, with empty values where there is nothing"
            )
        for key, item in value.items():
            self._check_value(item, f"{path}.{key}" if path else key, where, report)

    @staticmethod
    def _differs(path: str, kind: str, first: tuple[str, str], report: "_Once") -> None:
        if {kind, first[0]} == {"int", "float"}:
            what = f"{path} is {kind} here and {first[0]} in {first[1]}"
            report(f"json-float {path}", what, "always write floats with a point (1.0): readers truncate otherwise")
        else:
            report(
                f"json-types {path}",
                f"{path} is {kind} here and {first[0]} in {first[1]}",
                "give a key one type everywhere",
            )


class _Once:
    """Reports an error once a sample, however many items of a list it concerns."""

    def __init__(self, report: Report) -> None:
        self._report, self._reported = report, set[str]()

    def __call__(self, topic: str, what: str, fix: str) -> None:
        if topic not in self._reported:
            self._reported.add(topic)
            self._report(topic.split(" ", 1)[0], what, fix)


def _kind(value: Json) -> str:
    names = {type(None): "null", bool: "bool", int: "int", float: "float", str: "text", list: "list", dict: "object"}
    return names[type(value)]


def _unique_keys(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key occurs twice in one object")
    return value


def _reject_constant(word: str) -> float:
    raise ValueError(f"{word} is not JSON")
