"""What every benchmark shares: alternating runs, medians, and the one line ``RESULT {json}`` that it ends with (DESIGN 8)."""

import gc
import json
import platform
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pipeline.core.processor import usable_cores

OURS = "ours"


def alternate(
    contenders: Mapping[str, Callable[[], float]], rounds: int, *, warm_up: int = 1
) -> dict[str, list[float]]:
    """Each contender's figures over ``rounds`` runs, all of them once a round, so that a drifting machine hits all alike.

    A contender does its work once and gives its figure (a rate, or seconds). ``warm_up`` rounds are not counted. Every
    other round runs in reverse order.
    """
    figures: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(-warm_up, rounds):
        names = list(contenders) if number % 2 == 0 else list(reversed(contenders))
        for name in names:
            gc.collect()
            figure = contenders[name]()
            if number >= 0:
                figures[name].append(figure)
                _say(f"  {name}: {figure:.4g}")
    return figures


def result(
    bench: str,
    unit: str,
    figures: Mapping[str, Sequence[float]],
    *,
    higher_is_better: bool,
    env: Mapping[str, Any],
    **details: Any,
) -> dict[str, Any]:
    """The object of a RESULT line. figures: runs of ``ours`` and of each peer, paired by round.

    A ratio is the median of the ratios of paired rounds, above 1 when ours is better; ``spread`` gives their least and
    greatest, or those of our own runs where there is no peer.
    """
    ours = list(figures[OURS])
    peers = {name: list(values) for name, values in figures.items() if name != OURS}
    ratios = {name: [_ratio(a, b, higher_is_better) for a, b in zip(ours, p, strict=True)] for name, p in peers.items()}
    spread = {name: [round(min(r), 3), round(max(r), 3)] for name, r in ratios.items()}
    return {
        "bench": bench,
        "unit": unit,
        OURS: _median(ours),
        "peers": {name: _median(values) for name, values in peers.items()},
        "ratio": {name: round(statistics.median(values), 3) for name, values in ratios.items()},
        "spread": spread or {OURS: [round(min(ours), 4), round(max(ours), 4)]},
        "runs": len(ours),
        **details,
        "env": {**environment(), **env},
    }


def environment(*packages: str) -> dict[str, Any]:
    """Python, machine, cores, and the versions of packages."""
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": usable_cores(),
        **versions(*packages),
    }


def versions(*packages: str) -> dict[str, str]:
    """Installed versions by name; 'absent' for what is not there."""
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


def finish(report: Mapping[str, Any]) -> None:
    """Print the RESULT line, the last of a benchmark."""
    print(f"RESULT {json.dumps(report, ensure_ascii=False)}", flush=True)


def _ratio(ours: float, peer: float, higher_is_better: bool) -> float:
    return ours / peer if higher_is_better else peer / ours


def _median(values: Sequence[float]) -> float:
    return float(f"{statistics.median(values):.5g}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
