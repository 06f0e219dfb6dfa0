"""What the explanation of a crop is made of: the model's answer without limits and without references, and its references."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.core.geometry import iou
from procrop_model.inference.explanation import Evidence, ReferenceWeight
from procrop_model.inference.image_input import DETAIL, Original
from procrop_model.inference.limit_scoring import CropConstraints
from procrop_model.inference.predictor import EncodedBatch, Predictor

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class SearchedImage:
    """One image of an encoded batch, after the search.

    Args:
        encoded: the batch.
        number: of the image in it.
        original: the image.
        constraints: its limits.
        free_box: [4] in 0..1, what the model rates highest without limits.
    """

    encoded: EncodedBatch
    number: int
    original: Original
    constraints: CropConstraints
    free_box: Floats


def evidence_of(predictor: Predictor, of: SearchedImage) -> Evidence:
    """Evidence for the crops of an image; one more pass of the network, without references, if it had some."""
    references, alone = reference_weights(predictor, of.encoded, of.number), None
    if references:
        side = DETAIL * max(predictor.config.source_side, predictor.config.input_side)
        (other,) = predictor.propose(predictor.encode([of.original.small(side)], k=0))
        alone = iou(of.free_box.tolist(), other.boxes[0].tolist())
    return Evidence(of.free_box.tolist(), missed_limits(of.constraints, of.free_box), references, alone)


def reference_weights(predictor: Predictor, encoded: EncodedBatch, image: int) -> list[ReferenceWeight]:
    """The references of one image with their share of its attention to references, most first."""
    neighbours = encoded.neighbours[image]
    entries = [predictor.database.entries[row] for row in neighbours.rows]
    attention = predictor.engine.attention(encoded.inputs, image)[:, :, : len(entries)]  # [H, W, K, T]
    weights = attention.sum((0, 1, 3)) if attention.size else np.zeros(len(entries))  # [K]
    shares = weights / max(float(weights.sum()), 1e-9)
    rows = [ReferenceWeight(*of) for of in zip(entries, neighbours.similarities, shares.tolist(), strict=True)]
    return sorted(rows, key=lambda row: -row.weight)


def missed_limits(constraints: CropConstraints, box: Floats) -> list[str]:
    """The limits that one box [4] misses, as the end of a sentence: ``cuts a head``."""
    missed = []
    if heads := constraints.faces.prominent_lost(box):
        missed.append("cuts or leaves out a head" if heads == 1 else f"cuts or leaves out {heads} heads")
    parts = constraints.violations(box[None], constraints.share)
    if parts["subject"][0] > 0:
        missed.append(f"keeps {float(constraints.kept(box[None])[0]):.0%} of the subject")
    if parts["keep"][0] > 0:
        missed.append("cuts a region that must stay")
    if parts["size"][0] > 0:
        missed.append("is smaller than asked for")
    return missed
