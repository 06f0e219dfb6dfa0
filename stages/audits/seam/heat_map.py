"""Heat maps: where on a canvas a probe that never saw its photo takes the picture for paint."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.seeds import fraction_of
from stages.audits.seam.features import features_of
from stages.audits.seam.patches import GRID, Patches, Scene, everywhere, joined, sides
from stages.audits.seam.probes import folds_of, logistic

PER_CANVAS = 24


def heat_maps(scenes: Sequence[Scene], side: int, folds: int, seed: int, count: int) -> list[dict[str, Any]]:
    """``count`` canvases, each of another photo, chosen by hash: key, and cells [x, y, width, height, chance of paint].

    Every cell is a square of 8 px in the middle of its patch.
    """
    known = sides(scenes, side, PER_CANVAS, seed)
    shown = _chosen(scenes, count)
    asked = [everywhere(scene, side) for scene in shown]
    both = joined([known, *asked], side)
    fold = folds_of(both.photos, folds, seed)
    judge, scores = logistic(features_of(both), both.target), np.zeros(len(both))
    first = len(known)
    for one in np.unique(fold[first:]):
        test = first + np.flatnonzero(fold[first:] == one)
        scores[test] = judge(np.flatnonzero(fold[:first] != one), test)
    each = np.split(scores[first:], np.cumsum([len(patches) for patches in asked])[:-1])
    return [
        {"key": scene.key, "photo": scene.photo, "cells": _cells(patches, found, side)}
        for scene, patches, found in zip(shown, asked, each, strict=True)
    ]


def _chosen(scenes: Sequence[Scene], count: int) -> list[Scene]:
    ranked = sorted(scenes, key=lambda scene: (fraction_of(0, "seam heat", scene.key), scene.key))
    first = {scene.photo: scene for scene in reversed(ranked)}
    return [scene for scene in ranked if first[scene.photo] is scene][:count]


def _cells(asked: Patches, scores: NDArray[np.float64], side: int) -> list[list[float]]:
    inset = (side - GRID) // 2
    chance = 1 / (1 + np.exp(np.clip(scores, -20, 20)))
    return [
        [int(x) + inset, int(y) + inset, GRID, GRID, round(float(share), 3)]
        for (x, y), share in zip(asked.corner, chance, strict=True)
    ]
