"""Progress of a run: bars on a terminal, plain lines elsewhere."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypedDict

from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from pipeline.core.console import cell, plain_console
from pipeline.core.escaping import printable
from pipeline.core.units import duration_text
from pipeline.engine.runner import StageResult
from pipeline.engine.shard_runner import Event
from pipeline.planning.whole_run import Expected, WholeRun
from pipeline.runs.receipts import Receipt
from pipeline.runs.status import DroppedSample

PLAIN_EVERY_S = 10.0
LOST_SHOWN = 20


@dataclass
class StageProgress:
    """Progress of one running stage.

    Args:
        stage: its name.
        total: shards to process.
        bar: its bar, on a terminal.
        done: shards that are committed.
        counts: samples by outcome (kept, rejected, failed).
        samples: expected in the shards to process; 0 where nothing is known.
        started: monotonic time of its begin, in seconds.
        shared: whether another stage ran at the same time.
        last: monotonic time of its last committed shard, in seconds; 0 before the first.
    """

    stage: str
    total: int
    bar: TaskID | None = None
    done: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    samples: int = 0
    started: float = field(default_factory=time.monotonic)
    shared: bool = False
    last: float = 0.0

    def duration_text(self) -> str:
        """How long it took; for stages that ran at the same time, when the last shard was done."""
        if self.shared and self.last:
            return f"done after {duration_text(self.last - self.started)}"
        return duration_text(time.monotonic() - self.started)

    def text(self) -> str:
        """Samples by outcome so far, and samples per second."""
        rate = sum(self.counts.values()) / max(time.monotonic() - self.started, 1e-3)
        failed = f"  failed {self.counts['failed']:,}" if self.counts["failed"] else ""
        return f"kept {self.counts['kept']:,}  rejected {self.counts['rejected']:,}{failed}  {rate:.1f}/s"


# Counts and times of a stage, in the form of ``run --json``; "seconds" are added over all workers.
StageSummary = TypedDict(
    "StageSummary",
    {
        "stage": str, "shards": int, "done_now": int, "in": int, "kept": int, "rejected": dict[str, int],
        "failed": dict[str, int], "seconds": float, "processor_seconds": float, "final_shards": dict[str, list[str]],
    },
)  # fmt: skip


class Display:
    """Shows the progress of a run, in which several stages may be active. Bars count samples; one more bar is the whole run.

    A block ``with display:`` keeps the bars from the first stage to the last, with one estimate of the time left.

    Args:
        quiet: show nothing at all.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._console = plain_console(stderr=True, quiet=quiet)
        self._quiet = quiet
        self._bars: Progress | None = None
        self._stages: dict[str, StageProgress] = {}
        self._last_line = time.monotonic()
        self._whole = WholeRun({})
        self._whole_bar: TaskID | None = None
        self._keep_bars = False
        self._idle: list[str] = []

    def __enter__(self) -> "Display":
        self._keep_bars = True
        return self

    def __exit__(self, *error: object) -> None:
        self._keep_bars = False
        self._stop_bars()

    def expect(self, stages: Mapping[str, Expected]) -> None:
        """The stages to come, in order, with what is expected of each."""
        self._whole = WholeRun(stages)

    def begin(self, stage: str, todo: int, total: int) -> None:
        """A stage starts, with ``todo`` of its ``total`` shards to process."""
        others = list(self._stages.values())
        samples = self._whole.begin(stage, todo / total if total else 0.0)
        progress = self._stages[stage] = StageProgress(stage, todo, samples=samples)
        for one in [*others, *([progress] if others else [])]:
            one.shared = True
        self._last_line = progress.started
        if todo and self._console.is_terminal and not self._quiet:
            self._bars = self._bars or self._new_bars()
            progress.bar = self._bars.add_task(self._whole.title(stage), total=samples or None, text="")

    def _new_bars(self) -> Progress:
        columns = (
            TextColumn("{task.description:<35}"),
            BarColumn(10),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[text]}"),
        )
        bars = Progress(*columns, console=self._console, transient=True)
        bars.start()
        self._whole_bar = bars.add_task("all stages", total=1.0, text="") if self._whole.known else None
        return bars

    def _stop_bars(self) -> None:
        if self._bars:
            self._bars.stop()
        self._bars = None

    def on_event(self, event: Event) -> None:
        """A micro-batch is done."""
        progress = self._stages.setdefault(event.stage, StageProgress(event.stage, 0))
        progress.counts.update(kept=event.kept, rejected=event.rejected, failed=event.failed)
        self._whole.advance(event.stage, event.kept + event.rejected + event.failed)
        if self._bars and progress.bar is not None:
            self._bars.update(progress.bar, completed=sum(progress.counts.values()), text=progress.text())
            if self._whole_bar is not None:
                self._bars.update(self._whole_bar, completed=self._whole.share, text=self._whole.left_text())
        elif not self._quiet and time.monotonic() - self._last_line > PLAIN_EVERY_S:
            self._last_line = time.monotonic()
            for one in self._stages.values():
                if one.counts and one.done < one.total:
                    self._console.print(f"{self._plain_line(one)}", soft_wrap=True)

    def _plain_line(self, progress: StageProgress) -> str:
        done = sum(progress.counts.values())
        of = f" of about {progress.samples:,}" if progress.samples else ""
        left = self._whole.left_text()
        return (
            f"{self._whole.title(progress.stage)}: {done:,}{of} samples, {progress.text()}{f', {left}' if left else ''}"
        )

    def shard_done(self, receipt: Receipt) -> None:
        """A shard is committed."""
        progress = self._stages.setdefault(receipt.stage, StageProgress(receipt.stage, 0))
        progress.done += 1
        progress.last = time.monotonic()

    def end(self, result: StageResult) -> None:
        """A stage is complete: prints one line about it, or one line about several of which nothing was to do."""
        progress = self._stages.pop(result.stage, None) or StageProgress(result.stage, 0)
        self._whole.end(result.stage)
        if self._bars and progress.bar is not None:
            self._bars.update(progress.bar, visible=False)
        if not self._stages and not self._keep_bars:
            self._stop_bars()
        if not result.done_now and not result.changes:
            self._idle.append(result.stage)
            return
        self._print_idle()
        summary = summary_of(result)
        duration = progress.duration_text() if result.done_now else "already done"
        reasons = ", ".join(f"{name} {n:,}" for name, n in {**summary["rejected"], **summary["failed"]}.items())
        n_in, kept = summary["in"], summary["kept"]
        dropped = f"  dropped {n_in - kept:,} ({reasons})" if reasons else ""
        line = f"{result.stage:<16} {kept:,} of {n_in:,} kept{dropped}  "
        self._console.print(Text(line).append(duration, "dim"), soft_wrap=True)
        for line in result.changes.lines():
            self._console.print(f"  {printable(line)}", soft_wrap=True)

    def _print_idle(self) -> None:
        if self._idle:
            self._console.print(f"already done: {', '.join(self._idle)}", soft_wrap=True)
        self._idle = []

    def finished(self, results: Sequence[StageResult]) -> None:
        """All stages are complete: says in one line if nothing was to do."""
        if not results or any(result.done_now or result.changes for result in results):
            self._print_idle()
            return
        self._idle = []
        last = summary_of(results[-1])
        stages = "stage" if len(results) == 1 else f"{len(results)} stages"
        self.message(
            f"nothing to do: {stages} done before, {last['kept']:,} of {last['in']:,} samples kept by {last['stage']}"
        )

    def lost_files(self, rows: Sequence[DroppedSample]) -> None:
        """Print a table of the input files that gave no photograph, cut to about one screen."""
        if not rows:
            return
        table = Table("file and cause", "reason", title="files without a photograph", title_justify="left", box=None)
        for row in rows[:LOST_SHOWN]:
            table.add_row(cell(row["detail"]), row["reason"])
        self._console.print(table)
        if len(rows) > LOST_SHOWN:
            self._console.print(f"and {len(rows) - LOST_SHOWN:,} more: procrop-data status --failed")

    def processor_time(self, results: Sequence[StageResult]) -> None:
        """Print what each stage took of the processors for one painted canvas, if any was painted now."""
        if not any(result.done_now for result in results):
            return
        canvases = sum(r.n_in for result in results if result.stage == "outpaint" for r in result.receipts)
        for result in results if canvases else ():
            seconds = summary_of(result)["processor_seconds"]
            self._console.print(f"{result.stage:<18} {seconds / canvases:.3f} processor seconds a canvas")

    @contextmanager
    def counting(self, what: str) -> Iterator[Callable[[], None]]:
        """A counter for work before the stages; prints a line only if the work takes long."""
        state = {"n": 0, "last": time.monotonic()}

        def tick() -> None:
            state["n"] += 1
            if time.monotonic() - state["last"] > PLAIN_EVERY_S / 5:
                state["last"] = time.monotonic()
                self._console.print(f"{what}: {state['n']:,}")

        yield tick

    def message(self, text: str) -> None:
        """Print one line."""
        self._console.print(printable(text), soft_wrap=True)


def summary_of(result: StageResult) -> StageSummary:
    """Counts and times of a stage, added over its receipts."""
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
        "processor_seconds": round(sum(r.processor_seconds for r in result.receipts), 2),
        "final_shards": result.changes.as_json() if result.changes else {},
    }
