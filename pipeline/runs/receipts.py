"""Receipts: the JSON file that marks a shard of a stage as done, written last. Readers use only files that a receipt names."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TypedDict

from pipeline.core.errors import DamagedDataError, RefusedError
from pipeline.core.json_types import JsonObject
from pipeline.core.seeds import digest_of
from pipeline.core.stage import FAILED, KEPT, REJECTED
from pipeline.storage.base import FileInfo, inside

FORMAT = 1


class StageRecipe(TypedDict):
    """The part of a fingerprint that a user can change: code version, settings, and digest of each model by role."""

    version: int
    settings: JsonObject
    models: dict[str, str]


@dataclass(frozen=True)
class Receipt:
    """What a shard was made from and what it holds; ``n_in == n_kept + sum(n_rejected) + sum(n_failed)`` always holds.

    Args:
        stage: name of the stage.
        shard: number of the shard; -1 for a run-level step.
        shards: how many shards the stage has.
        recipe: of the stage; another recipe is refused without ``--accept-change``.
        inputs: name -> digest of what the shard was made from.
        outputs: path in the run directory -> size and sha256.
        columns: path of a table -> column -> digest of its values in kept rows; empty in receipts of older versions.
        n_in: samples that came in.
        n_kept: samples that go on.
        n_rejected: samples by reason of rejection.
        n_failed: samples by class of error.
        seconds: by phase (``read``, ``compute``, ``write`` ...).
        host: machine that made it.
        device: what the models ran on.
        environment: versions of libraries and the kind of processor that it was made with; empty in receipts of older versions.
        processor_seconds: of the process that made the shard, all its threads together; 0 in receipts of older versions.
        run: identity of the run (``Plan.identity``); empty in receipts of older versions.
        format: of this JSON.
    """

    stage: str
    shard: int
    shards: int
    recipe: StageRecipe
    inputs: dict[str, str]
    outputs: dict[str, FileInfo]
    n_in: int
    n_kept: int
    n_rejected: dict[str, int]
    n_failed: dict[str, int]
    seconds: dict[str, float] = field(default_factory=dict)
    host: str = ""
    device: str = ""
    run: str = ""
    format: int = FORMAT
    processor_seconds: float = 0.0
    columns: dict[str, dict[str, str]] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """Hash of recipe and inputs: equal fingerprints mean equal bytes."""
        return digest_of(
            [self.stage, self.shard, self.shards, self.recipe, self.inputs, *([self.run] if self.run else [])]
        )

    @property
    def output_digest(self) -> str:
        """Hash of ``outputs``."""
        return digest_of(self.outputs)

    def content_digest(self, columns: Iterable[str] | None) -> str:
        """What a reader of some columns (None: of everything) records as its input.

        It is a hash of values, so neither other columns nor the version of the library that wrote the Parquet change it. A
        receipt of an older version has its ``output_digest`` only.
        """
        table = next(iter(self.columns.values()), None)
        if table is None:
            return self.output_digest
        if columns is not None:
            return digest_of({name: table.get(name, "") for name in columns})
        others = {path: about for path, about in self.outputs.items() if path not in self.columns}
        return digest_of([table, others])

    def file_digest(self, path: str) -> str:
        """What a reader of one output records as its input: a hash of values for a table, else of bytes."""
        table = self.columns.get(path)
        return digest_of(table) if table else str(self.outputs[path]["sha256"])

    def encode(self) -> bytes:
        """JSON bytes; raises DamagedDataError when the counts do not add up."""
        self._check_counts("about to be written")
        body = {**asdict(self), "fingerprint": self.fingerprint, "seal": self._seal()}
        return (json.dumps(body, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()

    @staticmethod
    def decode(data: bytes, where: str) -> "Receipt":
        """A receipt from its bytes; raises DamagedDataError for an incomplete, edited or newer one."""
        try:
            body = json.loads(data)
            fingerprint, seal = body.pop("fingerprint"), body.pop("seal", "")
            if body.get("format") != FORMAT:
                raise DamagedDataError(
                    f"receipt '{where}' has format {body.get('format')!r}, this version reads {FORMAT}"
                )
            receipt = Receipt(**body)
            if fingerprint != receipt.fingerprint:
                raise DamagedDataError(f"receipt '{where}' was edited: its fingerprint does not match its content")
            receipt._check_counts(f"in '{where}'")
            for path in receipt.outputs:
                inside(path, "of its receipt")
            if seal and seal != receipt._seal():
                raise DamagedDataError(f"receipt '{where}' was edited: its seal does not match its content")
        except RefusedError as error:
            raise DamagedDataError(f"receipt '{where}' was edited: {error}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedDataError(f"receipt '{where}' is not readable: {error}") from error
        return receipt

    def _seal(self) -> str:
        """Digest of all fields; of a receipt of an older version, of those that it had."""
        absent = {name for name in ("processor_seconds", "columns", "environment") if not getattr(self, name)}
        return digest_of({name: value for name, value in asdict(self).items() if name not in absent})

    def _check_counts(self, where: str) -> None:
        total = self.n_kept + sum(self.n_rejected.values()) + sum(self.n_failed.values())
        if total != self.n_in:
            raise DamagedDataError(f"receipt {where}: {self.n_in} in, but {total} kept, rejected and failed")


def counts(verdicts: Iterable[tuple[str, str]]) -> tuple[int, dict[str, int], dict[str, int]]:
    """Number kept, rejected by reason and failed by reason. verdicts: (status, reason) of each row."""
    n_kept, rejected, failed = 0, {}, {}  # type: int, dict[str, int], dict[str, int]
    for status, reason in verdicts:
        if status == KEPT:
            n_kept += 1
        else:
            tally = {REJECTED: rejected, FAILED: failed}[status]
            tally[reason] = tally.get(reason, 0) + 1
    return n_kept, dict(sorted(rejected.items())), dict(sorted(failed.items()))


def difference(old: Mapping[str, object], new: Mapping[str, object], prefix: str = "") -> list[str]:
    """Lines ``key: old -> new`` for every leaf that differs."""
    lines = []
    for key in sorted({*old, *new}):
        a, b = old.get(key, "(absent)"), new.get(key, "(absent)")
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            lines += difference(a, b, f"{prefix}{key}.")
        elif a != b:
            lines.append(f"{prefix}{key}: {a} -> {b}")
    return lines
