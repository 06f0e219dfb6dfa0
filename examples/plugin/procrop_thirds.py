"""A plug-in of procrop-data: a scorer by the rule of thirds, and a stage that keeps blurred photographs from being painted."""

from dataclasses import dataclass

import numpy as np

from pipeline.core.records import Photo
from pipeline.core.stage import Outcome, Stage, Task
from stages.photos.decode import to_array


class Thirds:
    """A ``Scorer``: 10 where the middle of the subject is at a third of the crop.

    Args:
        loss: points for a distance of half the crop.
    """

    name, licence, digest = "thirds", "MIT (no weights)", "1"

    def __init__(self, loss: float = 20.0) -> None:
        self.loss = loss

    def score(self, pictures, boxes):
        return [self._scores(*pair) for pair in zip(pictures, boxes, strict=True)]

    def _scores(self, picture, boxes):
        mask = np.ones((2, 2)) if picture.mask is None else picture.mask + 1e-3  # a square, whatever the picture
        middle = [(mask.sum(axis) / mask.sum()) @ np.linspace(0, 1, len(mask)) for axis in (0, 1)]
        middle *= np.array(picture.size)
        at = (middle - boxes[:, :2]) / (boxes[:, 2:] - boxes[:, :2])  # [N, 2], 0 to 1 of the crop
        distance = np.minimum(abs(at - 1 / 3), abs(at - 2 / 3)).sum(1)
        return np.clip(10 - self.loss * distance, 0, 10).astype(np.float32)


@dataclass(frozen=True)
class Sharp:
    """A row. sharpness: mean difference of neighbouring pixels, in levels."""

    key: str
    sharpness: float


class Sharpness(Stage):
    """Rejects photographs whose neighbouring pixels differ by less than ``least`` levels."""

    name, upstream, record, reasons = "sharpness", ("ingest",), Sharp, ("blurred",)

    def __init__(self, least: float = 0.5) -> None:
        self.least = least

    def settings(self):
        return {"least": self.least}

    def tasks(self, shard):
        return [Task(photo.key, photo.key) for photo in shard.rows("ingest", Photo)]

    def run(self, tasks, shard):
        return [self._outcome(task.key, to_array(shard.image("ingest", task.key))) for task in tasks]

    def _outcome(self, key, image):
        row = Sharp(key, float(np.abs(np.diff(image.astype(np.float32), axis=1)).mean()))
        return Outcome.kept(row) if row.sharpness >= self.least else Outcome.rejected(key, "blurred", record=row)
