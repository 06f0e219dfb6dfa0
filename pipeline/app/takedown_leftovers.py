"""After photographs were taken down: places beyond the stages' reach that may still hold something of them."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.shards import parquet

KEY_DIGITS = 24


def leftovers(root: Path, files: Any, *, removed: int) -> list[str]:
    """One line a place. files: Arrow columns ``key`` and ``uri`` of the input files that there are; removed: how many this
    command found gone.
    """
    return [*_models(root, files), *_evaluations(root, files), *_report(root, files), *_lineage(root, removed)]


def _models(root: Path, files: Any) -> Iterator[str]:
    for path in sorted(root.glob("models/**/references.parquet")):
        gone = _missing(_keys(path), files["key"])
        if gone:
            where = path.parent.relative_to(root)
            yield (
                f"{where} holds features of {len(gone)} photographs that are gone, and the cropper was trained with them: "
                "run 'procrop-data train' again, or delete it"
            )


def _evaluations(root: Path, files: Any) -> Iterator[str]:
    """Sheets of the worst pictures, and figures by picture."""
    for path in sorted(root.glob("models/**/evaluation-*.parquet")):
        if _missing(_column(path, "photo"), files["key"]):
            where = path.relative_to(root).with_suffix("")
            yield f"{where}-worst.png may show photographs that are gone: run 'procrop-data eval' again, or delete {where}*"


def _keys(path: Path) -> set[str]:
    return _column(path, "key")


def _column(path: Path, name: str) -> set[str]:
    try:
        return {row[name] for row in parquet.decode(path.read_bytes(), [name])}
    except (OSError, ValueError):
        return set()


def _missing(wanted: Iterable[str], there: Any) -> list[str]:
    """Those texts that a column does not hold."""
    texts = pa.array(sorted(wanted), pa.string())
    missing: list[str] = texts.filter(pc.invert(pc.is_in(texts, value_set=there))).to_pylist()
    return missing


def _report(root: Path, files: Any) -> Iterator[str]:
    shown = {_key_of(path) for path in root.glob("report/crops/*.jpg")}
    if _missing(shown, files["key"]) or _missing(_credited(root / "report" / "data.json"), files["uri"]):
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
