"""What ``eval`` prints."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rich.table import Table

from pipeline.core.console import plain_console
from pipeline.core.escaping import printable

COLUMNS = 3  # metrics side by side in a terminal
EMPTY = "-"  # where a method has no such figure: the boxes of a constant crop have no correlation
WIDTH = 160
FEWEST_CALIBRATED = 60  # images below which the shares by score are noise, and are not printed


def print_ablation(result: Mapping[str, Any]) -> None:
    """The table of ``eval --ablate``."""
    print(
        f"{result['n']:,} canvases of {result['photos']:,} photographs, split {result['split']}; {result['protocol']}"
    )
    lines = []
    for name, row in result["rows"].items():
        difference = result["differences"].get(name)
        change = interval(difference["iou"], "+") if difference else ""
        lines.append((name, interval(row["iou"]), interval(row["bde"]), change))
    _print(("", "iou [95 %]", "bde [95 %]", "change of iou [95 %]"), lines)


def print_rows(result: Mapping[str, Any]) -> None:
    """The table of methods and metrics, then what the protocol has beside it, then the cost."""
    counted = (
        f"{result['n']:,} canvases of {result['photos']:,} photographs"
        if "photos" in result
        else f"{result['n']:,} pictures"
    )
    print(f"{counted}, split {result['split']}; {result['protocol']}")
    _print_metrics(result["rows"])
    if "pairs" in result:
        print("pairs: " + ", ".join(f"{name} {count:,}" for name, count in result["pairs"].items()))
    if "correlations" in result:
        _print_box_figures(result)
    if "calibration" in result and result["n"] >= FEWEST_CALIBRATED:
        _print_calibration(result["calibration"], result.get("refitted"))
    if "faces" in result:
        _print_faces(result["faces"])
    for name, group in result.get("groups", {}).items():
        print(f"\n{printable(name)}: {group['n']:,} pictures")
        _print_metrics(group["rows"])
    costs = [f"{name} {cost['ms']:.1f}" for name, cost in result["cost"].items()]
    parameters = result["cost"].get("model", {}).get("parameters", 0) / 1e6
    print(f"milliseconds a picture: {', '.join(costs)}; model of {parameters:.2f} million parameters")


def interval(values: Sequence[float] | None, sign: str = "") -> str:
    """``mean [low, high]``; a dash for None."""
    if values is None:
        return EMPTY
    mean, low, high = values
    return f"{mean:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"


def shown_metrics(names: list[str]) -> list[str]:
    """The metrics that fit a terminal; ``--json`` has them all."""
    chosen = ("srcc", "pcc", "acc1_5", "acc4_5", "avg5", "avg10")
    return [name for name in names if name in chosen] if "srcc" in names else names


def _print_metrics(rows: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
    metrics = shown_metrics(list(next(iter(rows.values()))))
    for start in range(0, len(metrics), COLUMNS):
        shown = metrics[start : start + COLUMNS]
        lines = [(method, *(interval(row[name]) for name in shown)) for method, row in rows.items()]
        _print(("", *(f"{name} [95 %]" for name in shown)), lines)


def _print_box_figures(result: Mapping[str, Any]) -> None:
    """Correlations with the person's box, IoU by the size of the person's crop, and sizes."""
    print("\ncorrelation with the person's box, photograph by photograph [95 %]")
    known = {method: row for method, row in result["correlations"].items() if any(row.values())}
    _print_wide(known, lambda row, name: interval(row[name]))
    print("\nIoU by the share of the picture that the person keeps [95 %]")
    bins = {f"{one['from']:g} to {one['to']:g} (n {one['n']})": one["iou"] for one in result["by_size"]}
    lines = [(method, *(interval(row[method]) for row in bins.values())) for method in result["rows"]]
    _print(("", *bins), lines)
    areas = ", ".join(f"{name} {low:.2f} {mid:.2f} {high:.2f}" for name, (low, mid, high) in result["areas"].items())
    print(f"\nshare of the picture kept, 10 % 50 % 90 % quantiles: {areas}")


def _print_calibration(calibration: Mapping[str, Any], refitted: Sequence[float] | None) -> None:
    print(
        f"\nscore of the top crop, and the share that reach an IoU of 0.75 (mean distance {calibration['error']:.3f})"
    )
    bins = [(f"{one['score']:.2f}", str(one["n"]), interval(one["reached"])) for one in calibration["bins"]]
    _print(("score", "n", "reached [95 %]"), bins)
    if refitted is not None:
        print("the model's calibration is now slope {:.4f}, offset {:.4f}".format(*refitted))


def _print_faces(faces: Mapping[str, Any]) -> None:
    print(f"\n{faces['faces']} faces in {faces['pictures']} pictures: shares that are cut [95 %]")
    if faces["faces"]:
        _print_metrics(faces["rows"])


def _print_wide(rows: Mapping[str, Mapping[str, Any]], text: Callable[[Mapping[str, Any], str], str]) -> None:
    """A table of methods and figures, with few columns at a time."""
    names = list(next(iter(rows.values()), {}))
    for start in range(0, len(names), COLUMNS + 1):
        shown = names[start : start + COLUMNS + 1]
        _print(("", *shown), [(method, *(text(row, name) for name in shown)) for method, row in rows.items()])


def _print(header: Sequence[str], lines: Iterable[Sequence[str]]) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in header:
        table.add_column(name, justify="right" if name else "left")
    for line in lines:
        table.add_row(*line)
    plain_console(width=WIDTH).print(table)
