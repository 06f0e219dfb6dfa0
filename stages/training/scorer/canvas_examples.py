"""Training examples from photographs: painted canvases around them, and crops inside them, without paint."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.core.seeds import seed_for
from stages.backends.base.protocols import Image
from stages.training.scorer.paint_canvases import CanvasPainter
from stages.training.scorer.pairs import Example, canvas_example, inside_example
from stages.training.scorer.photo_folder import Photograph
from stages.training.scorer.views import with_long_side

Progress = Callable[[str, int, int], None]
PART = (0.6, 0.9)  # of each side of a photo, where crops are drawn inside a part of it


@dataclass(frozen=True)
class ExampleMaker:
    """Makes examples from photographs.

    Args:
        painter: of the canvases.
        variants: canvases of a photo.
        insides: sets of crops inside a photo.
    """

    painter: CanvasPainter
    variants: int
    insides: int

    def make(self, photographs: Sequence[Photograph], progress: Progress) -> list[Example]:
        """All examples with pairs, photo by photo; each depends on its photo, its number and the seed alone."""
        examples: list[Example] = []
        for number, photograph in enumerate(photographs):
            examples += [*self._canvases(photograph), *self._insides(photograph)]
            progress("paint", number + 1, len(photographs))
        return [example for example in examples if example.pairs]

    def _canvases(self, photograph: Photograph) -> list[Example]:
        return [
            canvas_example(
                painted.canvas, np.array(painted.box_px, np.float64), painted.subject, photograph.name,
                self._rng("scorer-pairs", photograph, variant),
            )
            for variant, painted in enumerate(self.painter.paint(photograph, self.variants))
        ]  # fmt: skip

    def _insides(self, photograph: Photograph) -> list[Example]:
        """Sets of crops inside the photo; for every other set, inside a random part of it."""
        small = with_long_side(photograph.pixels, 2 * self.painter.long_side)
        (mask,) = self.painter.segmenter.segment([small])
        examples = []
        for turn in range(self.insides):
            rng = self._rng("scorer-inside", photograph, turn)
            rows, columns = _part(small, rng) if turn % 2 else (slice(None), slice(None))
            examples.append(inside_example(small[rows, columns], mask[rows, columns], photograph.name, rng))
        return examples

    def _rng(self, purpose: str, photograph: Photograph, number: int) -> np.random.Generator:
        return np.random.default_rng(seed_for(self.painter.seed, purpose, photograph.name, number))


def _part(picture: Image, rng: np.random.Generator) -> tuple[slice, slice]:
    share = rng.uniform(*PART)
    spans = []
    for length in picture.shape[:2]:
        size = max(1, round(length * share))
        start = int(rng.integers(0, length - size + 1))
        spans.append(slice(start, start + size))
    return spans[0], spans[1]
