"""Public aesthetic scorers: LAION's heads on CLIP, a head on SigLIP, NIMA's distributions. One pass of the network a crop."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from pipeline.core.json_types import Json
from pipeline.core.lazy_import import LazyImport
from stages.backends.base.checkpoint_backend import CheckpointSettings, FromCheckpoint
from stages.backends.base.checkpoint_files import locate, weights_digest
from stages.backends.base.picture import LazyPicture
from stages.backends.base.protocols import Floats, Scorer
from stages.backends.scorers.composition import CompositionScorer
from stages.backends.scorers.two_pass import PrescoredScorer

if TYPE_CHECKING:
    from stages.backends.scorers.aesthetic_engine import AestheticEngine

ENGINE: "LazyImport[type[AestheticEngine]]" = LazyImport("stages.backends.scorers.aesthetic_engine:AestheticEngine")
# kind -> network, head file, licence.
PUBLISHED = {
    "laion": ("openai/clip-vit-large-patch14", "sac+logos+ava1-l14-linearMSE.pth", "MIT (CLIP), Apache-2.0 (head)"),
    "siglip": (
        "google/siglip-so400m-patch14-384", "aesthetic_predictor_v2_5.pth", "Apache-2.0 (SigLIP), AGPL-3.0 (head)",
    ),
    "nima": ("vgg16", "NIMA_VGG16_ava.pth", "the weights' own; AVA's pictures are for research"),
}  # fmt: skip


class AestheticSettings(CheckpointSettings):
    """An aesthetic network with its head. Left out, model, head and licence are the published ones of the kind.

    Args:
        model: folder or hub id of CLIP or SigLIP in transformers' layout; for NIMA the name of a timm network.
        head: file of the head's weights (for NIMA, of all weights). LAION's heads are chains of linear layers on the
            L2-normalised image embedding; their number and sizes are read from the file.
        dtype: of the weights and activations.
        batch: crops scored together.
        fit: ``squash`` resizes the whole crop to a square; ``centre`` takes its middle square, as the heads were trained.
        keep: only so many crops of each image pass through the network, the best by the embedded scorer, and the first;
            0 for all.
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
        """The backend, behind a first pass of the embedded scorer where ``keep`` is set; nothing is loaded yet."""
        scorer = AestheticScorer(self)
        return PrescoredScorer(scorer, CompositionScorer(), self.keep) if self.keep else scorer


class AestheticScorer(FromCheckpoint[AestheticSettings, "AestheticEngine"]):
    """Implements ``Scorer``. Scores are the heads' own, about 1 to 10, clipped to 0..10 and rounded to 4 decimals."""

    def __init__(self, settings: AestheticSettings) -> None:
        super().__init__(f"{settings.kind}-aesthetic", settings, ENGINE)

    def _identity(self) -> Mapping[str, Json]:
        named = {"model"} if self._settings.kind == "nima" else set[str]()  # a network's name, not a file
        identity: dict[str, Json] = self._settings.model_dump(include={"kind", "dtype", "fit", "batch"} | named)
        return identity

    def _weights(self) -> Sequence[str]:
        s = self._settings
        head = weights_digest(locate(s.head))
        return [head] if s.kind == "nima" else [head, weights_digest(locate(s.model, s.revision))]

    def score(self, pictures: Sequence[LazyPicture], boxes: Sequence[Floats]) -> list[Floats]:
        """Scores [N] of the ``boxes`` [N, 4], pixels, of each picture; ModelError when weights do not load."""
        return self._loaded().score([picture.image for picture in pictures], boxes)
