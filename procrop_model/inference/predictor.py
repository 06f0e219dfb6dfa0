"""From images to boxes and scores: one backbone pass serves both retrieval and crops."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from procrop_model.answer.calibration import calibrated
from procrop_model.answer.expected_agreement import Opinion, best_agreement, log_weights, opinion_of
from procrop_model.answer.typical_crops import typical_crops
from procrop_model.inference.engine import DecodedBatch, Engine, ImageFeatures, Inputs
from procrop_model.inference.local_search import local_search
from procrop_model.network.config import CropperConfig, shares_pass
from procrop_model.network.resize import Pixels
from procrop_model.retrieval.database import ReferenceDatabase, SearchResult
from procrop_model.retrieval.pad_references import pad_references
from procrop_model.retrieval.query_encoder import QueryEncoder, encoder_for

Floats = NDArray[np.float32]
SEARCHED = 6  # boxes per image that local search improves; more cost time and seldom win


@dataclass(frozen=True)
class Prediction:
    """Crops of one image, best first.

    Args:
        boxes: [Q, 4] xyxy in 0..1.
        scores: [Q] in 0..1: the chance of an IoU of 0.75 with the best crop, or the RoI score of a model without typical crops.
        neighbours: the references used.
        opinion: where the best crop may lie; None for a model without typical crops.
    """

    boxes: Floats
    scores: Floats
    neighbours: SearchResult
    opinion: Opinion | None = None


@dataclass(frozen=True)
class EncodedBatch:
    """Inputs and output of the network for B images, with which further boxes are scored without another pass.

    Args:
        inputs: of the network.
        output: of the network.
        neighbours: the references of each image.
    """

    inputs: Inputs
    output: DecodedBatch
    neighbours: list[SearchResult]


class Predictor:
    """Runs a network with its reference database."""

    def __init__(
        self,
        engine: Engine,
        config: CropperConfig,
        database: ReferenceDatabase,
        device: str = "cpu",
        *,
        encoder: QueryEncoder | None = None,
    ) -> None:
        """Raises ModelError when the encoder is missing or is not that of the references.

        Args:
            engine: runs the network.
            config: its sizes.
            database: the references.
            device: torch device of the encoder.
            encoder: encoder of new images; needed for references that were not made with the bundled Lite0.
        """
        self.engine = engine
        self.config = config
        self.database = database
        answer = config.answer
        self._typical = typical_crops(answer.typical, answer.fill, answer.kept) if answer.typical else None
        self._encoder = encoder_for(database, encoder, device)

    def encode(
        self,
        images: Sequence[Pixels],
        *,
        k: int | None = None,
        exclude: Sequence[Collection[str]] | None = None,
        prompts: Sequence[str] | None = None,
    ) -> EncodedBatch:
        """Runs backbone, retrieval and network. A near-duplicate of an image is never among its references.

        Args:
            images: uint8 [H, W, 3] each.
            k: references per image; by default the config's, 0 for none.
            exclude: for each image, keys of references or photos that must not be used.
            prompts: a caption for each image, used by models trained with text only.
        """
        features = self.engine.features(images)
        vectors = self._vectors(images, features)
        count = self.config.k if k is None else k
        neighbours = self.database.search(vectors, count, exclude=exclude, parents=vectors)
        aspects = np.array([image.shape[1] / image.shape[0] for image in images], np.float32)
        references = pad_references([result.neighbours() for result in neighbours], self.database)
        inputs = Inputs(features, aspects, references, prompts)
        return EncodedBatch(inputs, self.engine.crops(inputs), neighbours)

    def propose(self, encoded: EncodedBatch) -> list[Prediction]:
        """Crops of each image, best first: by expected agreement, or by RoI score for a model without typical crops."""
        decoded = list(encoded.output.boxes)  # B x [Q, 4]
        if self._typical is not None:
            return self._by_agreement(encoded, decoded, self._typical)
        scores = self.score(encoded, decoded)
        orders = [np.argsort(-rows, kind="stable") for rows in scores]
        leading = [boxes[order[:SEARCHED]] for boxes, order in zip(decoded, orders, strict=True)]
        moved, moved_scores = local_search(leading, partial(self.score, encoded))
        predictions = []
        for image, order in enumerate(orders):
            boxes = np.concatenate([moved[image], decoded[image][order[SEARCHED:]]])
            values = np.concatenate([moved_scores[image], scores[image][order[SEARCHED:]]])
            predictions.append(_sorted(boxes, values, encoded.neighbours[image], None))
        return predictions

    def values(self, encoded: EncodedBatch, predictions: Sequence[Prediction], boxes: Sequence[Floats]) -> list[Floats]:
        """Scores in 0..1, [N_b] for image b, of boxes [N_b, 4], on the scale of its prediction."""
        if any(prediction.opinion is None for prediction in predictions):
            return self.score(encoded, boxes)
        return [self._agreement(p.opinion, rows) for p, rows in zip(predictions, boxes, strict=True) if p.opinion]

    def _by_agreement(self, encoded: EncodedBatch, decoded: list[Floats], typical: Floats) -> list[Prediction]:
        logits = self._judged(encoded, [np.concatenate([boxes, typical]) for boxes in decoded])
        predictions = []
        for boxes, energies, neighbours in zip(decoded, logits, encoded.neighbours, strict=True):
            opinion = opinion_of(boxes, energies[: len(boxes)], typical, energies[len(boxes) :], self.config.answer)
            starts = np.concatenate([opinion.mean[None], boxes])
            best, _ = best_agreement(opinion, starts)
            rows = np.concatenate([best, boxes])
            predictions.append(_sorted(rows, self._agreement(opinion, rows), neighbours, opinion))
        return predictions

    def _agreement(self, opinion: Opinion, boxes: Floats) -> Floats:
        return calibrated(opinion.expected_iou(boxes), self.config.answer.calibration)

    def score(self, encoded: EncodedBatch, boxes: Sequence[Floats]) -> list[Floats]:
        """RoI scores in 0..1, [N_b] for image b, of boxes [N_b, 4] xyxy in 0..1."""
        judged = self._judged(encoded, boxes)
        return [np.asarray(1 / (1 + np.exp(-log_weights(rows, self.config.answer))), np.float32) for rows in judged]

    def _judged(self, encoded: EncodedBatch, boxes: Sequence[Floats]) -> list[Floats]:
        longest = max(1, *(len(rows) for rows in boxes))
        padded = np.tile(np.array([0, 0, 1, 1], np.float32), (len(boxes), longest, 1))  # [B, N, 4]
        for row, unpadded in enumerate(boxes):
            padded[row, : len(unpadded)] = unpadded
        found = self.engine.judge(encoded.output, padded, encoded.inputs.aspects)
        return [found[row, : len(unpadded)] for row, unpadded in enumerate(boxes)]

    def _vectors(self, images: Sequence[Pixels], features: ImageFeatures) -> Floats:
        if shares_pass(self.config) and self._encoder.size == self.config.input_side:
            return features.vectors
        return self._encoder.vectors(images)


def _sorted(boxes: Floats, scores: Floats, neighbours: SearchResult, opinion: Opinion | None) -> Prediction:
    order = np.argsort(-scores, kind="stable")
    return Prediction(boxes[order], scores[order], neighbours, opinion)
