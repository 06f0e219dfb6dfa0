"""The receipt: the JSON that says a shard of a stage is done, written last. Readers trust only what a receipt names."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline.core.errors import DamagedDataError
from pipeline.core.seeds import digest_of
from pipeline.core.stage import FAILED, KEPT, REJECTED

FORMAT = 1


@dataclass(frozen=True)
class Receipt:
    """What was done and what came of it; ``n_in == n_kept + sum(n_rejected) + sum(n_failed)`` always holds.

    recipe: version, settings, models: what a user can change. inputs: digests of what the shard was made from.
    outputs: path in the run directory -> size and sha256. seconds: by phase. run: which run it is of (``Plan.identity``).
    """

    stage: str
    shard: int
    shards: int
    recipe: dict[str, Any]
    inputs: dict[str, str]
    outputs: dict[str, dict[str, Any]]
    n_in: int
    n_kept: int
    n_rejected: dict[str, int]
    n_failed: dict[str, int]
    seconds: dict[str, float] = field(default_factory=dict)
    host: str = ""
    device: str = ""
    run: str = ""
    format: int = FORMAT

    @property
    def fingerprint(self) -> str:
        """Hash of recipe and inputs: equal fingerprints mean equal bytes."""
        return digest_of(
            [self.stage, self.shard, self.shards, self.recipe, self.inputs, *([self.run] if self.run else [])]
        )

    @property
    def output_digest(self) -> str:
        """Hash of the files; what downstream shards record as their input."""
        return digest_of(self.outputs)

    def encode(self) -> bytes:
        """JSON bytes; raises DamagedDataError when the counts do not add up."""
        self._check_counts("about to be written")
        body = {**asdict(self), "fingerprint": self.fingerprint, "seal": digest_of(asdict(self))}
        return (json.dumps(body, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()

    @staticmethod
    def decode(data: bytes, where: str) -> "Receipt":
        """A receipt from its bytes; raises DamagedDataError for torn, edited or newer ones."""
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
            if seal and seal != digest_of(asdict(receipt)):
                raise DamagedDataError(f"receipt '{where}' was edited: its seal does not match its content")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedDataError(f"receipt '{where}' is not readable: {error}") from error
        return receipt

    def _check_counts(self, where: str) -> None:
        total = self.n_kept + sum(self.n_rejected.values()) + sum(self.n_failed.values())
        if total != self.n_in:
            raise DamagedDataError(f"receipt {where}: {self.n_in} in, but {total} kept, rejected and failed")


def counts(rows: Iterable[Mapping[str, Any]]) -> tuple[int, dict[str, int], dict[str, int]]:
    """Kept, rejected by reason and failed by reason of table rows."""
    n_kept, rejected, failed = 0, {}, {}  # type: int, dict[str, int], dict[str, int]
    for row in rows:
        if row["status"] == KEPT:
            n_kept += 1
        else:
            tally = {REJECTED: rejected, FAILED: failed}[row["status"]]
            tally[row["reason"]] = tally.get(row["reason"], 0) + 1
    return n_kept, dict(sorted(rejected.items())), dict(sorted(failed.items()))


def difference(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Lines ``key: old -> new`` for every leaf that differs."""
    lines = []
    for key in sorted({*old, *new}):
        a, b = old.get(key, "(absent)"), new.get(key, "(absent)")
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            lines += difference(a, b, f"{prefix}{key}.")
        elif a != b:
            lines.append(f"{prefix}{key}: {a} -> {b}")
    return lines
