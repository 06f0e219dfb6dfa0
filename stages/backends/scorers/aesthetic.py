"""Public aesthetic scorers: LAION's heads on CLIP, a head on SigLIP, NIMA's distributions. One pass of the network a crop."""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field, model_validator

from stages.backends.base.checkpoint_backend import CheckpointSettings, FromCheckpoint
from stages.backends.base.checkpoint_files import locate, weights_digest
from stages.backends.base.protocols import Floats, Image, Scorer
from stages.backends.scorers.composition import CompositionScorer
from stages.backends.scorers.two_pass import PrescoredScorer

# kind -> network, head file, licence.
PUBLISHED = {
    "laion": ("openai/clip-vit-large-patch14", "sac+logos+ava1-l14-linearMSE.pth", "MIT (CLIP), Apache-2.0 (head)"),
    "siglip": (
        "google/siglip-so400m-patch14-384", "aesthetic_predictor_v2_5.pth", "Apache-2.0 (SigLIP), AGPL-3.0 (head)",
    ),
    "nima": ("vgg16", "NIMA_VGG16_ava.pth", "the weights' own; AVA's pictures are for research"),
}  # fmt: skip


class AestheticSettings(CheckpointSettings):
    """model: folder or hub id of CLIP or SigLIP in transformers' layout; for NIMA the name of a timm network.

    head: file of the head's weights (all of NIMA's). LAION's heads are chains of linear layers on the L2-normalised image
    embedding, the v1 heads a single one; which one a file is, is read from its shapes. fit: ``squash`` shows the network the
    whole crop, ``centre`` its middle square, as the heads were trained. keep: of each picture only so many crops are passed
    through the network, the best by the embedded scorer, and the first; 0 for all.
    """

    kind: Literal["laion", "siglip", "nima"]
    model: str
    revision: str = ""
    head: str
    licence: str
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    batch: int = Field(32, ge=1)
    fit: Literal["squash", "centre"] = "squash"
    keep: int = Field(0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _as_published(cls, given: Any) -> Any:
        known = PUBLISHED.get(str(given.get("kind"))) if isinstance(given, dict) else None
        return given if known is None else {**dict(zip(("model", "head", "licence"), known, strict=True)), **given}

    def build(self) -> Scorer:
        """The backend, behind the embedded scorer's choice when ``keep`` says so; nothing is loaded yet."""
        scorer = AestheticScorer(self)
        return PrescoredScorer(scorer, CompositionScorer(), self.keep) if self.keep else scorer


class AestheticScorer(FromCheckpoint[AestheticSettings]):
    """Implements ``Scorer``. Scores are the heads' own, 1 to 10 or so, cut to 0..10 and rounded, as a batch moves last bits."""

    engine_at = "stages.backends.scorers.aesthetic_engine:AestheticEngine"

    def __init__(self, settings: AestheticSettings) -> None:
        super().__init__(f"{settings.kind}-aesthetic", settings)

    def _told(self) -> dict[str, Any]:
        named = {"model"} if self._settings.kind == "nima" else set[str]()  # a network's name, not a file
        return self._settings.model_dump(include={"kind", "dtype", "fit", "batch"} | named)

    def _weights(self) -> list[str]:
        head = weights_digest(locate(self._settings.head))
        return [head] if self._settings.kind == "nima" else [head, super()._weights()]

    def score(self, images: Sequence[Image], boxes: Sequence[Floats]) -> list[Floats]:
        """Scores [N] of the ``boxes`` [N, 4], pixels, of each uint8 image [H, W, 3]; ModelError when weights do not load."""
        scores: list[Floats] = self._loaded().score(images, boxes)
        return scores
