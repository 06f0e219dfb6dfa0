"""Validation: the IoU of the top crop, by which the best epoch is chosen."""

from collections.abc import Sequence

import torch

from pipeline.core.geometry import iou
from pipeline.shards.epoch_order import LoaderRank
from procrop_model.network.boxes import cxcywh_to_xyxy
from procrop_model.network.crop_network import CropNetwork
from procrop_model.retrieval.pad_references import pad_references
from procrop_model.training.batches import text_of
from procrop_model.training.samples import RetrievalResults
from procrop_model.training.train_step import view_features
from procrop_model.training.views import Views

BATCH = 16


@torch.no_grad()
def top_ious(
    network: CropNetwork,
    views: Views,
    share: LoaderRank,
    *,
    retrieval: RetrievalResults,
    k: int,
) -> list[float]:
    """IoU in 0..1 of the pseudo-label of each canvas, without augmentation, with the decoded box of highest RoI score.

    Each process evaluates whole batches, so a value does not depend on the number of processes; canvases of other processes get
    0. The network's mode (train or eval) is restored.
    """
    was_training = network.training
    network.eval()
    values = [0.0] * len(views.samples)
    for start in range(share.rank * BATCH, len(values), share.ranks * BATCH):
        chosen = range(start, min(start + BATCH, len(values)))
        values[start : chosen.stop] = _batch_ious(network, views, chosen, retrieval, k)
    network.train(was_training)
    return values


def _batch_ious(
    network: CropNetwork, views: Views, chosen: Sequence[int], retrieval: RetrievalResults, k: int
) -> list[float]:
    device = next(network.parameters()).device
    batch = [views.get(index, 0, None) for index in chosen]
    aspects = torch.tensor([view.aspect for view in batch], device=device)  # [B]
    neighbours = [retrieval.neighbours.get(views.samples.keys[index], [])[:k] for index in chosen]
    references = pad_references(neighbours, retrieval.database).to(device)
    text = text_of(batch)
    features = view_features(network, batch, device)
    output = network(features, aspects, references, None if text is None else text.to(device))
    rows = torch.arange(len(batch), device=device)
    decoded = cxcywh_to_xyxy(output.boxes[-1]).clamp(0, 1)  # [B, Q, 4]
    best = decoded[rows, network.score(output, decoded, aspects).argmax(1)].tolist()
    labels = [cxcywh_to_xyxy(view.targets.boxes[0]).tolist() for view in batch]
    return [iou(a, b) for a, b in zip(best, labels, strict=True)]
