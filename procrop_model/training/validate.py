"""Predictions on views of canvases, for choosing the epoch."""

from collections.abc import Sequence

import torch

from pipeline.core.geometry import iou
from pipeline.shards.epoch_order import LoaderRank
from procrop_model.network.boxes import cxcywh_to_xyxy
from procrop_model.network.crop_network import CropNetwork
from procrop_model.retrieval.database import Neighbour, ReferenceDatabase
from procrop_model.retrieval.pad_references import gather_references
from procrop_model.training.batches import text_of
from procrop_model.training.train_step import features_of
from procrop_model.training.views import Views

BATCH = 16


@torch.no_grad()
def top_ious(
    network: CropNetwork,
    views: Views,
    share: LoaderRank,
    *,
    neighbours: dict[str, list[Neighbour]],
    database: ReferenceDatabase,
    k: int,
) -> list[float]:
    """IoU of the decoded box of best RoI score with the pseudo-label of each canvas, not augmented. Leaves the mode as it was.

    Batches are dealt to the ranks whole, so each comes out the same whoever has it; 0 for the canvases of the others.
    """
    was_training = network.training
    network.eval()
    values = [0.0] * len(views.samples)
    for start in range(share.rank * BATCH, len(values), share.ranks * BATCH):
        chosen = range(start, min(start + BATCH, len(values)))
        values[start : chosen.stop] = _batch_iou(
            network, views, chosen, [neighbours.get(views.samples.keys[i], [])[:k] for i in chosen], database
        )
    network.train(was_training)
    return values


def _batch_iou(
    network: CropNetwork, views: Views, chosen: Sequence[int], found: list[list[Neighbour]], database: ReferenceDatabase
) -> list[float]:
    device = next(network.parameters()).device
    made = [views.get(index, 0, None) for index in chosen]
    aspects = torch.tensor([view.aspect for view in made], device=device)
    references = gather_references(found, database).to(device)
    text = text_of(made)
    output = network(features_of(network, made, device), aspects, references, None if text is None else text.to(device))
    rows = torch.arange(len(made), device=device)
    decoded = cxcywh_to_xyxy(output.boxes[-1]).clamp(0, 1)
    best = decoded[rows, network.score(output, decoded, aspects).argmax(1)].tolist()
    wanted = [cxcywh_to_xyxy(view.targets.boxes[0]).tolist() for view in made]
    return [iou(a, b) for a, b in zip(best, wanted, strict=True)]
