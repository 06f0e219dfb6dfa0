"""Validation: the IoU of the answer with the pseudo-label, by which the best epoch is chosen, and the calibration of its score."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.core.geometry import iou
from pipeline.shards.epoch_order import LoaderRank
from procrop_model.answer.calibration import fit_chances
from procrop_model.answer.expected_agreement import best_agreement, opinion_of
from procrop_model.answer.typical_crops import typical_crops
from procrop_model.network.boxes import cxcywh_to_xyxy
from procrop_model.network.config import AnswerConfig, CropperConfig
from procrop_model.network.crop_network import CropNetwork
from procrop_model.network.fusion import References
from procrop_model.retrieval.pad_references import pad_references
from procrop_model.training.batches import text_of
from procrop_model.training.config import TrainConfig
from procrop_model.training.samples import RetrievalResults
from procrop_model.training.train_step import view_features
from procrop_model.training.views import Views

BATCH = 16
VIEWS = 3  # of each canvas
GOOD_IOU = 0.75


class Answer(NamedTuple):
    """The answer for one view: its IoU with the pseudo-label, and its expected IoU (0 for a model without typical crops)."""

    iou: float
    expected: float


class Validator:
    """Answers of a network for views of the validation split."""

    def __init__(self, network: CropNetwork, views: Views, retrieval: RetrievalResults, config: TrainConfig) -> None:
        self.network, self.views, self.retrieval = network, views, retrieval
        self.model, self.augmentation = config.model, config.augment
        answer = self.model.answer
        self._typical = torch.from_numpy(
            typical_crops(max(1, answer.typical), answer.fill, answer.kept)[: answer.typical]
        )

    def ious(self, share: LoaderRank) -> list[float]:
        """IoU in 0..1 of each answer with the pseudo-label, VIEWS a canvas; 0 for those of other processes."""
        return [answer.iou for answer in self.answers(share)]

    def calibrated(self, best: dict[str, Tensor]) -> CropperConfig:
        """The model's settings with the calibration of its scores, by the weights ``best``, which the network keeps."""
        if not self.model.answer.typical or not len(self.views.samples):
            return self.model
        self.network.load_state_dict(best, strict=False)
        found = self.answers(LoaderRank(0, 1))
        reached = [answer.iou >= GOOD_IOU for answer in found]
        calibration = fit_chances([answer.expected for answer in found], reached)
        return replace(self.model, answer=replace(self.model.answer, calibration=calibration))

    @torch.no_grad()
    def answers(self, share: LoaderRank) -> list[Answer]:
        """The answer for VIEWS views of each canvas; people's annotated images are seen as they are.

        Each process evaluates whole batches, so a value does not depend on the number of processes; canvases of other processes
        get 0. The network's mode (train or eval) is restored.
        """
        was_training = self.network.training
        self.network.eval()
        count = len(self.views.samples)
        found = [Answer(0.0, 0.0)] * (count * VIEWS)
        for start in range(share.rank * BATCH, len(found), share.ranks * BATCH):
            chosen = range(start, min(start + BATCH, len(found)))
            found[start : chosen.stop] = self._batch([divmod(place, count)[::-1] for place in chosen])
        self.network.train(was_training)
        return found

    def _batch(self, places: Sequence[tuple[int, int]]) -> list[Answer]:
        """Of some views (sample, number)."""
        network, samples = self.network, self.views.samples
        device = next(network.parameters()).device
        batch = [self.views.get(i, number, None if samples[i].annotated else self.augmentation) for i, number in places]
        aspects = torch.tensor([view.aspect for view in batch], device=device)  # [B]
        neighbours = [self.retrieval.neighbours.get(samples.keys[i], [])[: self.model.k] for i, _ in places]
        references = References.of(*pad_references(neighbours, self.retrieval.database)).to(device)
        text = text_of(batch)
        features = view_features(network, batch, device)
        output = network(features, aspects, references, None if text is None else text.to(device))
        decoded = cxcywh_to_xyxy(output.boxes[-1]).clamp(0, 1)  # [B, Q, 4]
        scored = torch.cat([decoded, self._typical.to(device).expand(len(batch), -1, -1)], 1)
        logits = network.judge(output, scored, aspects).float().cpu().numpy()
        labels = [cxcywh_to_xyxy(view.targets.boxes[0]).tolist() for view in batch]
        rows = zip(scored.cpu().numpy(), logits, labels, strict=True)
        return [_answer(boxes, own, decoded.shape[1], label, self.model.answer) for boxes, own, label in rows]


def _answer(
    boxes: NDArray[np.float32], logits: NDArray[np.float32], queries: int, label: list[float], config: AnswerConfig
) -> Answer:
    if len(boxes) == queries:
        return Answer(iou(boxes[int(logits[:, 0].argmax())].tolist(), label), 0.0)
    opinion = opinion_of(boxes[:queries], logits[:queries], boxes[queries:], logits[queries:], config)
    best, expected = best_agreement(opinion, np.concatenate([opinion.mean[None], boxes[:queries]]))
    chosen = int(expected.argmax())
    return Answer(iou(best[chosen].tolist(), label), float(expected[chosen]))
