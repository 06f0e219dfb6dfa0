"""Which files of a regrouping stage (the final shards) a rerun changed, added and removed."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from pipeline.core.errors import DamagedDataError
from pipeline.core.stage import Stage
from pipeline.runs.receipts import Receipt
from pipeline.runs.run_directory import Run

MANIFEST = "manifest.json"
RETIRED = "retired"


@dataclass(frozen=True)
class Changes:
    """Paths of tars, sorted, compared with the last time that the stage was complete."""

    changed: list[str] = field(default_factory=list)
    appeared: list[str] = field(default_factory=list)
    vanished: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.changed or self.appeared or self.vanished)

    def as_json(self) -> dict[str, list[str]]:
        """The entry ``final_shards`` of ``--json``."""
        return asdict(self)

    def lines(self, most: int = 20) -> list[str]:
        """One line of text for each non-empty list, with at most ``most`` names."""
        out = []
        for word, paths in self.as_json().items():
            names = [path.rsplit("/", 1)[-1] for path in paths]
            more = f" and {len(names) - most} more" if len(names) > most else ""
            if names:
                out.append(f"{len(names)} final shards {word}: {', '.join(names[:most])}{more}")
        return out


def manifest_of(stage: Stage, run: Run) -> dict[str, str]:
    """sha256 of every file that the stage's receipts name, by path."""
    return {path: about["sha256"] for receipt in run.receipts(stage.name) for path, about in receipt.outputs.items()}


def encode_manifest(manifest: Mapping[str, str]) -> bytes:
    """JSON bytes."""
    return (json.dumps(manifest, indent=1, sort_keys=True) + "\n").encode()


def last_manifest(stage: Stage, run: Run) -> dict[str, str] | None:
    """The manifest of the last time that the stage was complete, or None."""
    try:
        manifest: dict[str, str] = json.loads(run.store.read(f"{stage.name}/{MANIFEST}"))
    except (FileNotFoundError, ValueError):
        return None
    return manifest


def compare(before: Mapping[str, str] | None, after: Mapping[str, str]) -> Changes:
    """Changes of tars; none when ``before`` is None."""
    if before is None:
        return Changes()
    old, new = ({p: digest for p, digest in m.items() if p.endswith(".tar")} for m in (before, after))
    return Changes(
        changed=sorted(path for path in old if path in new and old[path] != new[path]),
        appeared=sorted(set(new) - set(old)),
        vanished=sorted(set(old) - set(new)),
    )


def retire(run: Run, path: str) -> None:
    """Take a receipt out of force. One that names files outside of its stage's folder is kept aside until ``sweep``."""
    stage = path.rsplit("/", 1)[0]
    data = run.store.read(path) if run.store.exists(path) else b""
    try:
        receipt = Receipt.decode(data, path)
    except DamagedDataError:
        receipt = None
    if receipt is not None and any(not output.startswith(f"{stage}/") for output in receipt.outputs):
        announce(run, receipt)
    run.store.remove(path)


def announce(run: Run, receipt: Receipt) -> None:
    """Note the files of a receipt that is not in force, for ``sweep``: one that is retired, or not yet written."""
    name = f"{receipt.shard:06d}-{receipt.output_digest[:16]}.json"
    run.store.write(f"{receipt.stage}/{RETIRED}/{name}", receipt.encode())


def sweep(stage: Stage, run: Run, named: Mapping[str, str]) -> list[str]:
    """Delete files of former final shards that are not in ``named``: those that a retired receipt of this run names, no others.

    A final shard's name holds its split, so when splits grow or shrink, files of old names would stay and be read. Gives the
    paths.
    """
    folder = f"{stage.name}/{RETIRED}"
    gone = []
    for name in run.store.names(folder):
        receipt = _retired(run, f"{folder}/{name}")
        if receipt is not None and (receipt.stage, receipt.run) == (stage.name, run.plan.identity):
            old = [path for path in receipt.outputs if path not in named and run.store.exists(path)]
            for path in old:
                run.store.remove(path)
            gone += old
        run.store.remove(f"{folder}/{name}")
    return gone


def _retired(run: Run, path: str) -> Receipt | None:
    try:
        return run.receipt_at(path)
    except DamagedDataError:
        return None
