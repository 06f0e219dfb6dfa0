"""The commands in groups, in the order in which ``--help`` lists them."""

import typer
from typer.core import TyperGroup

GROUPS = {
    "Crop photographs": ("crop", "export"),
    "Make a dataset": (
        "demo", "run", "plan", "ingest", "perceive", "dedup", "caption", "outpaint", "propose", "refine", "filter", "build",
        "embed", "retrieve", "convert",
    ),
    "Look at it": ("status", "report", "config", "models"),
    "Check it": ("doctor", "download", "verify", "lint", "audit"),
    "Train": ("train", "train-bundled", "train-scorer", "train-outpainter"),
    "Measure": ("eval", "bench"),
}  # fmt: skip
ORDER = [name for names in GROUPS.values() for name in names]


class OrderedCommands(TyperGroup):
    """A program whose help lists its commands in ``ORDER``; commands of no group come last."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        names = super().list_commands(ctx)
        return sorted(names, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))


def group_commands(app: typer.Typer) -> None:
    """Put each command of the program under the title of its group."""
    titles = {name: title for title, names in GROUPS.items() for name in names}
    for command in app.registered_commands:
        command.rich_help_panel = titles.get(command.name or "")
    for group in app.registered_groups:
        group.rich_help_panel = titles.get(group.name or "", "")
