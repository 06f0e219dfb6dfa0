"""What parts of a batch count for, so that parts in turn, or in several processes, give the whole batch's losses and gradient."""

from typing import NamedTuple

from procrop_model.training.batches import Batch
from procrop_model.training.losses import LossConfig, matched_weight

OVER = {"score": "crops", "l1": "crops", "giou": "crops", "inside": "cells"}  # the others are means over canvases


class PartCounts(NamedTuple):
    """What the mean losses of a part are means over. crops: their weight in the set loss."""

    canvases: float
    cells: float
    crops: float

    @staticmethod
    def of(batch: Batch, loss: LossConfig, queries: int) -> "PartCounts":
        """Those of a batch; queries: of the network."""
        cells = sum(view.cells for view in batch.views)
        return PartCounts(len(batch.views), cells, matched_weight(batch.targets, loss, queries))

    def share(self, name: str, whole: "PartCounts") -> float:
        """What the part's mean of a loss is multiplied by: then the sum over parts is the mean over the whole."""
        over = OVER.get(name, "canvases")
        return float(getattr(self, over) / getattr(whole, over))
