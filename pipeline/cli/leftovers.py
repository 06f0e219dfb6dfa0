"""After photographs were taken down: places beyond the stages' reach that may still hold something of them."""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from pipeline import tables

KEY_DIGITS = 24


def leftovers(root: Path, files: Mapping[str, str], *, removed: int) -> list[str]:
    """One line a place. files: key -> address of the input files that there are; removed: how many this command found gone."""
    return [*_models(root, files), *_report(root, files), *_lineage(root, removed)]


def _models(root: Path, keys: Collection[str]) -> Iterator[str]:
    for path in sorted(root.glob("models/**/references.parquet")):
        gone = _keys(path) - set(keys)
        if gone:
            where = path.parent.relative_to(root)
            yield (
                f"{where} holds features of {len(gone)} photographs that are gone, and the cropper was trained with them: "
                "run 'procrop-data train' again, or delete it"
            )


def _keys(path: Path) -> set[str]:
    try:
        return {row["key"] for row in tables.decode(path.read_bytes(), ["key"])}
    except (OSError, ValueError):
        return set()


def _report(root: Path, files: Mapping[str, str]) -> Iterator[str]:
    shown = [path for path in sorted(root.glob("report/crops/*.jpg")) if _key_of(path) not in files]
    credited = _credited(root / "report" / "data.json") - set(files.values())
    if shown or credited:
        yield "report/ shows photographs that are gone: run 'procrop-data report' again, or delete it"


def _credited(path: Path) -> set[str]:
    try:
        credits = json.loads(path.read_text(encoding="utf-8")).get("credits", [])
    except (OSError, ValueError, AttributeError):
        return set()
    return {row["file"] for row in credits if isinstance(row, dict) and "file" in row}


def _key_of(path: Path) -> str:
    """The key of a photo from the bytes of its file, as ingest made it."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:KEY_DIGITS]


def _lineage(root: Path, removed: int) -> Iterator[str]:
    if removed and (root / "lineage").is_dir():
        yield "lineage/ keeps what former recipes made, of the photographs that are gone, too: delete it if it must go"
