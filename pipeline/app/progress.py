"""Progress on a terminal (bars) or elsewhere (plain lines), and the table that a command ends with."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from pipeline.engine.runner import StageResult
from pipeline.engine.shard_runner import Event
from pipeline.runs.receipts import Receipt
from pipeline.runs.status import DroppedSample

PLAIN_EVERY_S = 10.0
LOST_SHOWN = 20


@dataclass
class Progressing:
    """A stage in hand: shards done of those to do, samples by outcome.

    beside: whether other stages were in hand with it; last: when its last shard was done.
    """

    stage: str
    total: int
    bar: TaskID | None = None
    done: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    started: float = field(default_factory=time.monotonic)
    beside: bool = False
    last: float = 0.0

    def took(self) -> str:
        """Its time; of several stages in hand together, when each was done."""
        if self.beside and self.last:
            return f"done after {self.last - self.started:.1f} s"
        return f"{time.monotonic() - self.started:.1f} s"

    def text(self) -> str:
        """What became of the samples so far, and how fast."""
        rate = sum(self.counts.values()) / max(time.monotonic() - self.started, 1e-3)
        failed = f"  failed {self.counts['failed']}" if self.counts["failed"] else ""
        return f"kept {self.counts['kept']}  rejected {self.counts['rejected']}{failed}  {rate:.1f}/s"


class Display:
    """Watches a run, of which several stages may be in hand; bars count work shards, the text beside them samples.

    ``quiet``: nothing at all.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._console = Console(stderr=True, quiet=quiet, highlight=False)
        self._quiet = quiet
        self._bars: Progress | None = None
        self._stages: dict[str, Progressing] = {}
        self._last_line = time.monotonic()

    def begin(self, stage: str, todo: int, total: int) -> None:
        """A stage starts with so many of its shards to do."""
        others = list(self._stages.values())
        told = self._stages[stage] = Progressing(stage, todo)
        for one in [*others, *([told] if others else [])]:
            one.beside = True
        self._last_line = told.started
        if todo and self._console.is_terminal and not self._quiet:
            self._bars = self._bars or self._new_bars()
            told.bar = self._bars.add_task(stage, total=todo, text="")

    def _new_bars(self) -> Progress:
        columns = (
            TextColumn("{task.description:<16}"),
            BarColumn(24),
            TextColumn("{task.completed}/{task.total} shards"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[text]}"),
        )
        bars = Progress(*columns, console=self._console, transient=True)
        bars.start()
        return bars

    def on_event(self, event: Event) -> None:
        """A micro-batch is done."""
        told = self._stages.setdefault(event.stage, Progressing(event.stage, 0))
        told.counts.update(kept=event.kept, rejected=event.rejected, failed=event.failed)
        if self._bars and told.bar is not None:
            self._bars.update(told.bar, text=told.text())
        elif not self._quiet and time.monotonic() - self._last_line > PLAIN_EVERY_S:
            self._last_line = time.monotonic()
            for told in self._stages.values():
                if told.counts and told.done < told.total:
                    self._console.print(f"{told.stage:<16} {told.done}/{told.total} shards  {told.text()}")

    def shard_done(self, receipt: Receipt) -> None:
        """A shard is committed."""
        told = self._stages.setdefault(receipt.stage, Progressing(receipt.stage, 0))
        told.done += 1
        told.last = time.monotonic()
        if self._bars and told.bar is not None:
            self._bars.advance(told.bar)

    def end(self, result: StageResult) -> None:
        """A stage is complete."""
        told = self._stages.pop(result.stage, None) or Progressing(result.stage, 0)
        if self._bars and not self._stages:
            self._bars.stop()
            self._bars = None
        s = summary_of(result)
        took = told.took() if result.done_now else "already done"
        words = ", ".join(f"{name} {n}" for name, n in {**s["rejected"], **s["failed"]}.items())
        dropped = f"  dropped {s['in'] - s['kept']} ({words})" if words else ""
        self._console.print(
            f"{result.stage:<16} {s['kept']} of {s['in']} kept{dropped}  [dim]{took}[/dim]", soft_wrap=True
        )
        for line in result.changes.lines():
            self._console.print(f"  {line}", soft_wrap=True)

    def lost_files(self, rows: Sequence[DroppedSample]) -> None:
        """A table of the input files that gave no photograph, cut to a screen."""
        if not rows:
            return
        table = Table("file and cause", "reason", title="files without a photograph", title_justify="left", box=None)
        for row in rows[:LOST_SHOWN]:
            table.add_row(row["detail"], row["reason"])
        self._console.print(table)
        if len(rows) > LOST_SHOWN:
            self._console.print(f"and {len(rows) - LOST_SHOWN} more: procrop-data status --failed")

    @contextmanager
    def counting(self, what: str) -> Iterator[Callable[[], None]]:
        """A counter for work before the stages; speaks up only when it takes long."""
        state = {"n": 0, "last": time.monotonic()}

        def tick() -> None:
            state["n"] += 1
            if time.monotonic() - state["last"] > PLAIN_EVERY_S / 5:
                state["last"] = time.monotonic()
                self._console.print(f"{what}: {state['n']}")

        yield tick

    def say(self, text: str) -> None:
        """A line for people."""
        self._console.print(text)


def summary_of(result: StageResult) -> dict[str, Any]:
    """Counts and times of a stage, as ``--json`` prints them."""
    rejected: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    for receipt in result.receipts:
        rejected.update(receipt.n_rejected)
        failed.update(receipt.n_failed)
    return {
        "stage": result.stage,
        "shards": len(result.receipts),
        "done_now": result.done_now,
        "in": sum(r.n_in for r in result.receipts),
        "kept": sum(r.n_kept for r in result.receipts),
        "rejected": dict(sorted(rejected.items())),
        "failed": dict(sorted(failed.items())),
        "seconds": round(sum(sum(r.seconds.values()) for r in result.receipts), 2),
        "final_shards": result.changes.as_json() if result.changes else {},
    }
