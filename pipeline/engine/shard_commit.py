"""The end of an attempt at a shard: its files are put in place, then its receipt."""

import contextlib
import socket
from collections.abc import Iterator

from pipeline.core.errors import ProcropError, RefusedError
from pipeline.core.stage import Rows, Shard, Stage
from pipeline.runs.final_shard_diff import announce
from pipeline.runs.journal import Journal
from pipeline.runs.publish import FinishedFiles, Publisher, finished_files
from pipeline.runs.receipts import Receipt, counts
from pipeline.runs.run_directory import Run, receipt_path, recipe_of
from pipeline.storage.locks import Lock


class ShardAttempt:
    """Commits what one attempt made of a shard.

    Args:
        stage: that made it.
        run: the run directory.
        shard: as the stage read it.
        inputs: digests of what it was made from.
        lock: of the shard, held by this process.
    """

    def __init__(self, stage: Stage, run: Run, shard: Shard, inputs: dict[str, str], lock: Lock) -> None:
        self._stage, self._run, self._shard, self._inputs = stage, run, shard, inputs
        self._publisher = Publisher(run.store, lock, receipt_path(stage.name, shard.number))

    def place(self, rows: Rows, journal: Journal | None) -> Receipt:
        """Put the files in place; gives the receipt, not yet in force. journal: of a stage that writes a tar.

        Raises RefusedError when another process has the shard.
        """
        finished = finished_files(self._stage, self._shard, rows, journal)
        receipt = self._receipt(finished, rows)
        self._announce(receipt)
        with self._announced_again(receipt):
            for path, data in finished.files.items():
                self._publisher.put(path, data, finished.outputs[path], move=True)
        return receipt

    def commit(self, receipt: Receipt) -> Receipt:
        """Put the receipt in force; gives it, or that of another attempt with the same files.

        Raises RefusedError when another process has the shard.
        """
        with self._announced_again(receipt):
            return self._publisher.commit(receipt)

    def _announce(self, receipt: Receipt) -> None:
        """Files outside of the stage's folder are announced, so that a sweep finds them whatever happens before the receipt."""
        if any(not path.startswith(f"{self._stage.name}/") for path in receipt.outputs):
            announce(self._run, receipt)

    @contextlib.contextmanager
    def _announced_again(self, receipt: Receipt) -> Iterator[None]:
        """When the shard went to another process, its sweep may have come before our files were placed."""
        try:
            yield
        except RefusedError:
            self._announce(receipt)
            raise

    def _receipt(self, finished: FinishedFiles, rows: Rows) -> Receipt:
        stage, run = self._stage, self._run
        n_kept, rejected, failed = counts((row["status"], row["reason"]) for row in rows)
        unknown = set(rejected) - set(stage.reasons)
        if unknown:
            raise ProcropError(
                f"{stage.name} rejected with unlisted reasons {sorted(unknown)}; this is a bug, please report it"
            )
        return Receipt(
            stage=stage.name,
            shard=self._shard.number,
            shards=self._shard.count,
            recipe=recipe_of(stage),
            inputs=self._inputs,
            outputs=finished.outputs,
            columns=finished.columns,
            n_in=len(rows),
            n_kept=n_kept,
            n_rejected=rejected,
            n_failed=failed,
            host=socket.gethostname(),
            run=run.plan.identity,
        )
