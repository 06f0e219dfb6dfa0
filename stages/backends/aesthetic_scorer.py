"""Public aesthetic scorers: LAION's heads on CLIP, a head on SigLIP, NIMA's distributions. One pass of the network a crop."""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field, model_validator

from pipeline.seeds import digest_of
from pipeline.settings import Settings
from stages.backends.checkpoint import locate, weights_digest
from stages.backends.composition_scorer import CompositionScorer
from stages.backends.lazy import engine
from stages.backends.prescored import PrescoredScorer
from stages.backends.protocols import Floats, Image, Scorer

CODE_VERSION = 1
# kind -> network, head file, licence.
PUBLISHED = {
    "laion": ("openai/clip-vit-large-patch14", "sac+logos+ava1-l14-linearMSE.pth", "MIT (CLIP), Apache-2.0 (head)"),
    "siglip": (
        "google/siglip-so400m-patch14-384", "aesthetic_predictor_v2_5.pth", "Apache-2.0 (SigLIP), AGPL-3.0 (head)",
    ),
    "nima": ("vgg16", "NIMA_VGG16_ava.pth", "the weights' own; AVA's pictures are for research"),
}  # fmt: skip


class AestheticSettings(Settings):
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
    device: str = "auto"
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


class AestheticScorer:
    """Implements ``Scorer``. Scores are the heads' own, 1 to 10 or so, cut to 0..10 and rounded, as a batch moves last bits."""

    def __init__(self, settings: AestheticSettings) -> None:
        self._settings = settings
        self.name = f"{settings.kind}-aesthetic"
        self.licence = settings.licence
        self._engine: Any = None
        self._digest = ""

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_engine": None}

    @property
    def digest(self) -> str:
        """Of network, head, settings and code version; ModelError when a file is missing."""
        if not self._digest:
            s = self._settings
            weights = [weights_digest(locate(s.head))]
            if s.kind != "nima":
                weights.append(weights_digest(locate(s.model, s.revision)))
            told = s.model_dump(include={"kind", "dtype", "fit", "batch"} | ({"model"} if s.kind == "nima" else set()))
            self._digest = digest_of({"code": CODE_VERSION, "settings": told, "weights": weights})[:16]
        return self._digest

    def score(self, images: Sequence[Image], boxes: Sequence[Floats]) -> list[Floats]:
        """Scores [N] of the ``boxes`` [N, 4], pixels, of each uint8 image [H, W, 3]; ModelError when weights do not load."""
        if self._engine is None:
            self._engine = engine("stages.backends.aesthetic_engine:AestheticEngine")(self._settings)
        scores: list[Floats] = self._engine.score(images, boxes)
        return scores
