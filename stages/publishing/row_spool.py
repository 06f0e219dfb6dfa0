"""Rows set aside on disk by where they go, and read back one destination at a time: regrouping in flat memory."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


class Spool:
    """One file of JSON lines a destination, in a folder that the caller removes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, rows: Iterable[tuple[int, int, Any]]) -> None:
        """Set rows aside: (destination, place there, JSON value)."""
        lines: dict[int, list[str]] = {}
        for destination, place, value in rows:
            lines.setdefault(destination, []).append(json.dumps([place, value], ensure_ascii=False) + "\n")
        for destination, found in lines.items():
            with open(self._folder / f"{destination}.jsonl", "a", encoding="utf-8") as file:
                file.writelines(found)

    def take(self, destination: int) -> list[Any]:
        """The values of a destination in order of their places; its file is removed."""
        path = self._folder / f"{destination}.jsonl"
        with open(path, encoding="utf-8") as file:
            found = [json.loads(line) for line in file]
        path.unlink()
        return [value for _, value in sorted(found, key=lambda pair: int(pair[0]))]
