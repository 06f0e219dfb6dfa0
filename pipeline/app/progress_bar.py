"""Progress bars of commands that are no run of stages: training, evaluation, conversion, verification."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from pipeline.core.console import plain_console
from pipeline.core.units import size_text

if TYPE_CHECKING:
    from rich.console import Console

PLAIN_EVERY_S = 10.0
SHOW_EVERY_BYTES = 4_000_000


class ProgressCallback(Protocol):
    """Called after each step with the number of steps done and in all, and with losses by name if there are any."""

    def __call__(self, done: int, total: int, losses: Mapping[str, float] | None = None, *, name: str = "") -> None: ...


@contextmanager
def progress_bar(name: str, quiet: bool) -> Iterator[ProgressCallback]:
    """A progress callback that draws a bar on a terminal, and prints a plain line every ten seconds elsewhere."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = plain_console(stderr=True, quiet=quiet)
    if not console.is_terminal or quiet:
        yield _plain_progress(name, console)
        return
    columns = (TextColumn("{task.description:<16}"), BarColumn(24), TextColumn("{task.completed}/{task.total}"))
    bars = Progress(*columns, TimeRemainingColumn(), TextColumn("{task.fields[text]}"), console=console, transient=True)
    bar, default_name = bars.add_task(name, total=None, text=""), name

    def update(done: int, total: int, losses: Mapping[str, float] | None = None, *, name: str = "") -> None:
        bars.update(bar, description=name or default_name, completed=done, total=total, text=_loss_text(losses))

    with bars:
        yield update


def _plain_progress(default_name: str, console: "Console") -> ProgressCallback:
    last = [time.monotonic()]

    def update(done: int, total: int, losses: Mapping[str, float] | None = None, *, name: str = "") -> None:
        if time.monotonic() - last[0] > PLAIN_EVERY_S:
            last[0] = time.monotonic()
            console.print(f"{name or default_name:<16} {done:,}/{total:,}  {_loss_text(losses)}")

    return update


def _loss_text(losses: Mapping[str, float] | None) -> str:
    return f"loss {losses['total']:.3f}" if losses and "total" in losses else ""


@contextmanager
def byte_progress_bar(name: str, quiet: bool) -> Iterator[tuple[Callable[[int], None], Callable[[int], None]]]:
    """(begin(total), progress(n)) of a bar of bytes on a terminal, or of a plain line every ten seconds elsewhere.

    ``progress`` may be called from several threads.
    """
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    console = plain_console(stderr=True, quiet=quiet)
    columns = (TextColumn(name), BarColumn(24), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    bars = Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal)
    bar = bars.add_task(name, total=None)
    lock, state = threading.Lock(), {"done": 0.0, "shown": 0.0, "total": 0.0, "last": time.monotonic()}

    def begin(total: int) -> None:
        state["total"] = total
        bars.update(bar, total=total)

    def progress(size: int) -> None:
        with lock:
            state["done"] += size
            if state["done"] - state["shown"] < SHOW_EVERY_BYTES:
                return
            state["shown"] = state["done"]
            late = time.monotonic() - state["last"] > PLAIN_EVERY_S
            state["last"] = time.monotonic() if late else state["last"]
        bars.update(bar, completed=state["done"])
        if late and not console.is_terminal:
            console.print(f"{name}: {size_text(state['done'])} of {size_text(state['total'])}")

    with bars:
        yield begin, progress
