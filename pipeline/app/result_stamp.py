"""Markers beside results that no receipt covers (a trained model, an evaluation), so that a second command does no work."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.core.seeds import digest_of
from pipeline.runs.receipts import Receipt


def key_of(parts: Sequence[Any], receipts: Sequence[Receipt]) -> str:
    """A digest of settings and of the shards that a result was made from."""
    return digest_of([list(parts), [receipt.output_digest for receipt in receipts]])


def is_made_from(result: Path, key: str) -> bool:
    """Whether a result is there and was made from exactly this."""
    marker = _marker(result)
    return result.exists() and marker.is_file() and marker.read_text(encoding="utf-8") == key


def mark(result: Path, key: str) -> None:
    """Note what a finished result was made from."""
    _marker(result).write_text(key, encoding="utf-8")


def _marker(result: Path) -> Path:
    return result.with_name(f"{result.name}.made-from")
