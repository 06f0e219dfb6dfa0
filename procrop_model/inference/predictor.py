"""From prepared images to boxes and scores: one backbone pass serves the retrieval and the crops."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from procrop_model.inference.local_search import climb
from procrop_model.network.backbone import Features
from procrop_model.network.boxes import cxcywh_to_xyxy
from procrop_model.network.config import CropperConfig, shares_pass
from procrop_model.network.crop_network import CropNetwork, Output
from procrop_model.network.fusion import References, Text
from procrop_model.network.preprocess import Pixels, prepare
from procrop_model.network.text import embedded_text, gather_texts
from procrop_model.retrieval.database import Found, ReferenceDatabase
from procrop_model.retrieval.pad_references import gather_references
from procrop_model.retrieval.query_encoder import QueryEncoder, encoder_for

Floats = NDArray[np.float32]
CLIMBERS = 6  # boxes an image that are moved


@dataclass(frozen=True)
class Prediction:
    """Crops of one image. boxes: [Q, 4] xyxy in 0..1, best first. scores: [Q] in 0..1. found: its
    references.
    """

    boxes: Floats
    scores: Floats
    found: Found


@dataclass(frozen=True)
class Looked:
    """Images that went through the network, for scoring further boxes without another pass, and what went in."""

    output: Output
    aspects: torch.Tensor
    found: list[Found]
    features: Features
    references: References
    text: Text | None = None


class Predictor:
    """A network with its references."""

    def __init__(
        self,
        network: CropNetwork,
        config: CropperConfig,
        database: ReferenceDatabase,
        device: str = "cpu",
        *,
        encoder: QueryEncoder | None = None,
    ) -> None:
        """encoder: of new images; needed when the references were not made with the embedded one. Raises ModelError."""
        self.network = network.eval().to(device)
        self.config = config
        self.database = database
        self.device = torch.device(device)
        self._words = embedded_text(config.text_dim)
        self._encoder = encoder_for(database, encoder, device)

    @torch.no_grad()
    def look(
        self,
        images: Sequence[Pixels],
        *,
        k: int | None = None,
        exclude: Sequence[Collection[str]] | None = None,
        prompts: Sequence[str] | None = None,
    ) -> Looked:
        """Images uint8 [H, W, 3] through backbone, retrieval and network.

        k: references (the config's by default, 0 for none); exclude: forbidden keys of each image. An image that is
        itself in the database, or nearly so, never gets itself as a reference. prompts: captions, which a model trained with
        text reads and others ignore.
        """
        features = self.network.extract([prepare(image, self.config).to(self.device) for image in images])
        vectors = self._vectors(images, features)
        wanted = self.config.k if k is None else k
        found = self.database.search(vectors, wanted, exclude=exclude, parents=vectors)
        aspects = torch.tensor([image.shape[1] / image.shape[0] for image in images], device=self.device)
        references = gather_references([hit.neighbours() for hit in found], self.database).to(self.device)
        text = self._text(prompts)
        output = self.network(features, aspects, references, text)
        return Looked(output, aspects, found, features, references, text)

    def propose(self, looked: Looked) -> list[Prediction]:
        """Crops of each image, best first by their RoI score, the leading ones moved to where that score is higher."""
        decoded = list(cxcywh_to_xyxy(looked.output.boxes[-1]).clamp(0, 1).cpu().numpy())  # B x [Q, 4]
        scores = self.score(looked, decoded)
        orders = [np.argsort(-rows, kind="stable") for rows in scores]
        leading = [boxes[order[:CLIMBERS]] for boxes, order in zip(decoded, orders, strict=True)]
        climbed, reached = climb(leading, partial(self.score, looked))
        made = []
        for image, order in enumerate(orders):
            boxes = np.concatenate([climbed[image], decoded[image][order[CLIMBERS:]]])
            values = np.concatenate([reached[image], scores[image][order[CLIMBERS:]]])
            final = np.argsort(-values, kind="stable")
            made.append(Prediction(boxes[final], values[final], looked.found[image]))
        return made

    @torch.no_grad()
    def score(self, looked: Looked, boxes: Sequence[Floats]) -> list[Floats]:
        """RoI scores in 0..1, one array [N_b] an image, of boxes [N_b, 4] xyxy in 0..1."""
        longest = max(1, *(len(rows) for rows in boxes))
        padded = np.tile(np.array([0, 0, 1, 1], np.float32), (len(boxes), longest, 1))
        for row, given in enumerate(boxes):
            padded[row, : len(given)] = given
        logits = self.network.score(looked.output, torch.tensor(padded, device=self.device), looked.aspects)
        scores = logits.sigmoid().cpu().numpy()
        return [scores[row, : len(given)] for row, given in enumerate(boxes)]

    def _text(self, prompts: Sequence[str] | None) -> Text | None:
        if prompts is None or self._words is None:
            return None
        return gather_texts([self._words.encode(prompt) for prompt in prompts]).to(self.device)

    def _vectors(self, images: Sequence[Pixels], features: Features) -> Floats:
        if shares_pass(self.config) and self._encoder.size == self.config.input_side:
            return np.asarray(features.pooled.cpu().numpy(), np.float32)
        return self._encoder.vectors(images)
