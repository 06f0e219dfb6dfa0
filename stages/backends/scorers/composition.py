"""The embedded scorer: how well a crop is composed, from one encoder pass a picture, RoIAlign and the subject's mask.

The head over ``composition_features`` and ``subject_features`` is fitted by ``stages.training.scorer.train`` on size-matched pairs.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pipeline.core.errors import ModelError
from pipeline.core.lazy_import import LazyImport
from pipeline.core.resources import bundled, file_digest
from pipeline.core.seeds import digest_of
from stages.backends.base.backend_settings import BackendSettings
from stages.backends.base.picture import LazyPicture, Maps, MaskGrid
from stages.backends.base.protocols import Floats, Image, Segmenter
from stages.backends.scorers.composition_files import VERSION, features_digest
from stages.backends.vision.u2net import U2NetSegmenter

if TYPE_CHECKING:
    from stages.backends.scorers.composition_engine import ScorerEngine

ENGINE: "LazyImport[type[ScorerEngine]]" = LazyImport("stages.backends.scorers.composition_engine:ScorerEngine")


class CompositionScorerSettings(BackendSettings):
    """The embedded scorer.

    Args:
        folder: of weights that ``procrop-data train-scorer`` wrote; empty for the bundled ones.
    """

    kind: Literal["composition"] = "composition"
    folder: str = ""

    def build(self) -> "CompositionScorer":
        """The backend with the bundled segmenter, whatever the recipe's is: its head was trained on those masks."""
        return CompositionScorer(Path(self.folder) if self.folder else None)


class CompositionScorer:
    """Implements ``Scorer`` and ``Perceiving``: 0..10 for any number of crops of a picture; ``Calibration`` defines the scale.

    A picture with maps is scored without its pixels.

    Each picture is run alone, so its scores do not depend on its batch.

    Args:
        folder: of the weights; None for the bundled ones.
        segmenter: that the head was trained with; None for the bundled one.
    """

    name = "composition-scorer"
    licence = "Apache-2.0"

    def __init__(self, folder: Path | None = None, segmenter: Segmenter | None = None) -> None:
        self.folder = folder or bundled("assets") / "models" / "scorer"
        self.segmenter = segmenter or U2NetSegmenter()
        self._engine: ScorerEngine | None = None

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_engine": None}

    @property
    def digest(self) -> str:
        """Digest of weights, calibration, features, segmenter and code version; ModelError without weights."""
        try:
            files = [file_digest(str(self.folder / name)) for name in ("model.safetensors", "config.json")]
        except OSError as error:
            raise ModelError(f"no scorer in {self.folder}: run procrop-data train-scorer") from error
        own = hashlib.sha256("".join([*files, features_digest(), self.segmenter.digest]).encode()).hexdigest()[:16]
        return f"composition-scorer-v{VERSION}-{own}"

    def digest_of_maps(self) -> str:
        """Digest of encoder, projection and segmenter: a new calibration leaves the maps as they are."""
        try:
            weights = file_digest(str(self.folder / "model.safetensors"))
        except OSError as error:
            raise ModelError(f"no scorer in {self.folder}: run procrop-data train-scorer") from error
        return digest_of([VERSION, weights, features_digest(), self.segmenter.digest])[:16]

    def perceive(self, images: Sequence[Image], masks: Sequence[MaskGrid], segmenter: str) -> list[Maps]:
        """Projected encoder maps of each uint8 image [H, W, 3]; ModelError when the weights do not load."""
        engine, known = self._loaded(), segmenter == self.segmenter.digest
        return [engine.perceive(image, mask if known else None) for image, mask in zip(images, masks, strict=True)]

    def score(self, pictures: Sequence[LazyPicture], boxes: Sequence[Floats]) -> list[Floats]:
        """Scores [N] of the ``boxes`` [N, 4], pixels, of each picture; ModelError when the weights do not load."""
        return [self._loaded().score(picture, own) for picture, own in zip(pictures, boxes, strict=True)]

    def _loaded(self) -> "ScorerEngine":
        if self._engine is None:
            self._engine = ENGINE.load()(self.folder, self.segmenter)
        return self._engine
