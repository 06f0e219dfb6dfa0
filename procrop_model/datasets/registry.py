"""The public sets by name: reader, protocol, split that is measured, and how scores become our 0 to 10."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.core.errors import UsageError
from procrop_model.datasets.cad import read_cad
from procrop_model.datasets.cpc import read_cpc
from procrop_model.datasets.fcdb import read_fcdb, read_fcdb_pairs
from procrop_model.datasets.flms import read_flms
from procrop_model.datasets.gaicd import read_gaicd
from procrop_model.datasets.labelled import LabelledSet
from procrop_model.datasets.sacd import read_sacd

GAIC, CACNET, GENCROP, FIRST, PAIRS = "gaic", "cacnet", "gencrop", "pseudo_label", "fcdb_pairs"
Scale = Callable[[tuple[float, ...]], tuple[float, ...]]


def _ten(scores: tuple[float, ...]) -> tuple[float, ...]:
    """Already 0 to 10, or 10 for every crop that somebody chose."""
    return scores


def _opinions(scores: tuple[float, ...]) -> tuple[float, ...]:
    """Mean opinions of 1 to 5; version 2 of GAICD has some below 1, which count as 1."""
    return tuple(max(0.0, (score - 1) / 4 * 10) for score in scores)


def _within(scores: tuple[float, ...]) -> tuple[float, ...]:
    """Votes without a published scale: the worst of a picture to 0, its best to 10 (ours; all 10 when they are equal)."""
    low, high = min(scores), max(scores)
    return tuple(float(np.clip((s - low) / (high - low), 0, 1)) * 10 if high > low else 10.0 for s in scores)


@dataclass(frozen=True)
class Format:
    """read(root, split): the set. protocol: how it is measured; split: which part of it; to_ten: its scores in 0..10."""

    name: str
    read: Callable[[Path | str, str], LabelledSet]
    protocol: str
    split: str
    to_ten: Scale = _ten


DATASETS = {
    one.name: one
    for one in (
        Format("gaicd", read_gaicd, GAIC, "test", _opinions),
        Format("cpc", read_cpc, GAIC, "", _within),
        Format("fcdb", read_fcdb, CACNET, "test"),
        Format("fcdb-pairs", read_fcdb_pairs, PAIRS, ""),
        Format("flms", read_flms, CACNET, "test"),
        Format("sacd", read_sacd, GENCROP, "test"),
        Format("cad", read_cad, FIRST, "test"),
    )
}


def dataset_format(name: str) -> Format:
    """By name; raises UsageError that lists the names."""
    if name not in DATASETS:
        raise UsageError(f"no dataset format '{name}': known are {', '.join(DATASETS)}")
    return DATASETS[name]
