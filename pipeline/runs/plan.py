"""``plan.json``: the identity of a run. The first command writes it; later commands must agree with it."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline.core.errors import DamagedDataError, RefusedError, UsageError
from pipeline.core.seeds import digest_of
from pipeline.runs.receipts import difference
from pipeline.storage.base import Store

PATH = "plan.json"
FORMAT = 1


@dataclass(frozen=True)
class Plan:
    """The identity of a run. Seed and number of work shards decide the shard of every key.

    Args:
        name: of the dataset.
        run_seed: seed of the run.
        work_shards: number of work shards.
        config: the whole recipe.
        sources: number of input files; it follows the input folder.
        sources_digest: of the list of input files.
        splits: split by key of the photographs that were moved into a split that had none.
        format: of this JSON.
    """

    name: str
    run_seed: int
    work_shards: int
    config: dict[str, Any] = field(default_factory=dict)
    sources: int = 0
    sources_digest: str = ""
    splits: dict[str, str] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def identity(self) -> str:
        """The run as receipts name it: shards of another name, seed or number of work shards do not belong to it."""
        return digest_of([self.name, self.run_seed, self.work_shards])[:16]

    def encode(self) -> bytes:
        """JSON bytes."""
        body = {name: value for name, value in asdict(self).items() if value or name != "splits"}
        return (json.dumps(body, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def load_plan(store: Store) -> Plan | None:
    """The plan of a run directory, or None for a new one; raises DamagedDataError or RefusedError for one of another version."""
    try:
        data = store.read(PATH)
    except FileNotFoundError:
        return None
    try:
        body = json.loads(data)
        if body["format"] != FORMAT:
            raise RefusedError(
                f"'{store.url}' was made by another version: plan format {body['format']}, want {FORMAT}"
            )
        return Plan(**body)
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedDataError(f"'{store.url}/{PATH}' is not a plan: {error}") from error


def freeze_plan(store: Store, plan: Plan, *, start: bool = True) -> Plan:
    """Write the plan of a new run directory, or check that an old one has the same identity.

    Gives the stored plan. Raises RefusedError with the difference when name, seed or number of shards differ. Other
    settings are checked stage by stage against their receipts, so that those of a stage not yet run may still change; the
    recipe of a command is stored after it has succeeded (``store_plan``).

    Args:
        store: of the run directory.
        plan: of this command.
        start: whether a new run may begin here.
    """
    old = load_plan(store)
    if old is None:
        _refuse_foreign(store)
        if not start:
            return plan
        if store.create(PATH, plan.encode()):
            return plan
        old = load_plan(store)
        assert old is not None
    if not old.sources and start:  # an earlier command failed before it listed any input
        store_plan(store, plan)
        return plan
    identity = ("name", "run_seed", "work_shards")
    changed = difference({k: getattr(old, k) for k in identity}, {k: getattr(plan, k) for k in identity})
    if changed:
        raise RefusedError(
            f"'{store.url}' holds another run ({'; '.join(changed)}): use another --work, or the config that it was made with"
        )
    return old


def store_plan(store: Store, plan: Plan) -> None:
    """Write a plan if it has changed: another list of sources, or the recipe of a command that succeeded."""
    if load_plan(store) != plan:
        store.write(PATH, plan.encode())


def _refuse_foreign(store: Store) -> None:
    names = [name for name in store.names("") if not name.startswith((".", f"{PATH}.partial."))]
    if names and PATH not in names:  # another command may have begun the run meanwhile
        raise RefusedError(
            f"'{store.url}' is not a run directory (no {PATH}) and is not empty (it has '{names[0]}'): use another --work"
        )


def require_plan(store: Store) -> Plan:
    """The plan of a run directory that must exist; raises UsageError that says how to start one."""
    plan = load_plan(store)
    if plan is None:
        raise UsageError(f"no run in '{store.url}': start one with 'procrop-data run --work {store.url}'")
    return plan
