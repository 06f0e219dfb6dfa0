"""Heat maps: where on a canvas a probe that was trained without its photo predicts paint."""

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from pipeline.core.seeds import fraction_of
from stages.audits.seam.features import features_of
from stages.audits.seam.patches import GRID, LabelledCanvas, Patches, everywhere, joined, sides
from stages.audits.seam.probes import folds_of, logistic

PER_CANVAS = 24  # training patches of a kind from one canvas, as in the audit


class CanvasHeatMap(TypedDict):
    """One canvas. photo: its key; cells: [x, y, width, height, probability of paint], pixels of the canvas."""

    key: str
    photo: str
    cells: list[list[float]]


def heat_maps(scenes: Sequence[LabelledCanvas], side: int, folds: int, seed: int, count: int) -> list[CanvasHeatMap]:
    """Heat maps of ``count`` canvases, each of another photo, chosen by hash. A cell is 8 x 8 pixels in the middle of its patch.

    Args:
        scenes: canvases that the probe is trained on, all but those of a fold.
        side: of a patch in pixels.
        folds: parts that the photos are dealt into.
        seed: of the folds and of the patches.
        count: heat maps at most.
    """
    known = sides(scenes, side, PER_CANVAS, seed)
    shown = _chosen(scenes, count)
    parts = [everywhere(scene, side) for scene in shown]
    both = joined([known, *parts], side)
    fold = folds_of(both.photos, folds, seed)
    probe, scores = logistic(features_of(both), both.target), np.zeros(len(both))
    first = len(known)
    for one in np.unique(fold[first:]):
        test = first + np.flatnonzero(fold[first:] == one)
        scores[test] = probe(np.flatnonzero(fold[:first] != one), test)
    each = np.split(scores[first:], np.cumsum([len(patches) for patches in parts])[:-1])
    return [
        {"key": scene.key, "photo": scene.photo, "cells": _cells(patches, own, side)}
        for scene, patches, own in zip(shown, parts, each, strict=True)
    ]


def _chosen(scenes: Sequence[LabelledCanvas], count: int) -> list[LabelledCanvas]:
    ranked = sorted(scenes, key=lambda scene: (fraction_of(0, "seam heat", scene.key), scene.key))
    first = {scene.photo: scene for scene in reversed(ranked)}
    return [scene for scene in ranked if first[scene.photo] is scene][:count]


def _cells(patches: Patches, scores: NDArray[np.float64], side: int) -> list[list[float]]:
    inset = (side - GRID) // 2
    chance = 1 / (1 + np.exp(np.clip(scores, -20, 20)))
    return [
        [int(x) + inset, int(y) + inset, GRID, GRID, round(float(share), 3)]
        for (x, y), share in zip(patches.corner, chance, strict=True)
    ]
