"""The progress bar of commands that train."""

from collections.abc import Callable
from typing import Any


def progress_bar(name: str, quiet: bool) -> tuple[Callable[..., None], Callable[[], None]]:
    """A progress callback (done, total, losses) and what ends it; plain lines when nobody watches a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True, quiet=quiet, highlight=False)
    if not console.is_terminal or quiet:
        return _plain_progress(name, console), lambda: None
    columns = (TextColumn("{task.description:<16}"), BarColumn(24), TextColumn("{task.completed}/{task.total}"))
    bars = Progress(*columns, TimeRemainingColumn(), TextColumn("{task.fields[text]}"), console=console, transient=True)
    bar = bars.add_task(name, total=None, text="")
    bars.start()

    def tick(done: int, total: int, losses: dict[str, float] | None = None, name: str = name) -> None:
        bars.update(bar, description=name, completed=done, total=total, text=_loss_text(losses))

    return tick, bars.stop


def _plain_progress(name: str, console: Any) -> Callable[..., None]:
    import time

    from pipeline.app.progress import PLAIN_EVERY_S

    last = [time.monotonic()]

    def tick(done: int, total: int, losses: dict[str, float] | None = None, name: str = name) -> None:
        if time.monotonic() - last[0] > PLAIN_EVERY_S:
            last[0] = time.monotonic()
            console.print(f"{name:<16} {done}/{total}  {_loss_text(losses)}")

    return tick


def _loss_text(losses: dict[str, float] | None) -> str:
    return f"loss {losses['total']:.3f}" if losses and "total" in losses else ""
