"""The consoles that commands print tables and progress on. Text is text there: no markup, no emoji codes, no control characters."""

from typing import TYPE_CHECKING

from pipeline.core.escaping import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text


def plain_console(*, stderr: bool = False, quiet: bool = False, width: int | None = None) -> "Console":
    """A console that takes ``[`` in a name for what it is."""
    from rich.console import Console

    return Console(stderr=stderr, quiet=quiet, width=width, markup=False, emoji=False, highlight=False)


def say(text: object, *, stderr: bool = False) -> None:
    """Print a line: wrapped between words on a terminal, whole where it is piped."""
    console = plain_console(stderr=stderr)
    console.print(cell(text), soft_wrap=not console.is_terminal)


def cell(value: object) -> "Text":
    """A cell of a table with text from a file."""
    from rich.text import Text

    return Text(printable(value))
