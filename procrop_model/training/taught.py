"""Photographs with a scorer's opinion of typical crops: what the RoI head's second output, composition, learns.

The photographs are real, without paint, so what is learned of them holds for photographs. The scorer's features cost a segmenter
and an encoder pass a picture, which the head does without.
"""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from pipeline.core.errors import DamagedDataError
from pipeline.core.replace_file import replacing
from pipeline.core.seeds import seed_for
from procrop_model.network.backbone import Extractor
from procrop_model.network.config import CropperConfig
from procrop_model.network.preprocess import prepare
from procrop_model.training.augment import AugmentConfig, degrade_image, recolour
from procrop_model.training.targets import Targets
from procrop_model.training.views import View

SCHEMA = pa.schema([("photo", pa.string()), ("image", pa.binary()), ("logits", pa.list_(pa.float32()))])


@dataclass(frozen=True)
class TaughtBatch:
    """V views of photographs.

    Args:
        views: their inputs or features.
        aspects: [V], width / height.
        typical: [V, T, 4] xyxy in 0..1, typical crops.
        logits: [V, T], the scorer's log-odds of each; only their differences within a view count.
    """

    views: list[View]
    aspects: Tensor
    typical: Tensor
    logits: Tensor

    def to(self, device: torch.device) -> "TaughtBatch":
        """Copies all but the views to a device."""
        return TaughtBatch(self.views, self.aspects.to(device), self.typical.to(device), self.logits.to(device))


class TaughtViews:
    """The views of a table that ``write_taught`` wrote, their features kept."""

    def __init__(
        self, path: Path, config: CropperConfig, extractor: Extractor, augmentation: AugmentConfig, seed: int
    ) -> None:
        """Raises DamagedDataError for a table that is no such table, or of other typical crops.

        Args:
            path: the table.
            config: of the network.
            extractor: its backbone.
            augmentation: colours and degradations of the views; each view is drawn once.
            seed: of these draws.
        """
        try:
            table = pq.ParquetFile(path, pre_buffer=False).read(SCHEMA.names, use_threads=False)
        except (OSError, pa.ArrowException) as error:
            raise DamagedDataError(f"{path}: no table of scored photographs: {str(error)[:80]}") from error
        self._rows: list[dict[str, object]] = table.to_pylist()
        self.logits = np.array(table["logits"].to_pylist(), np.float32).reshape(len(table), -1)  # [V, T]
        if len(table) and self.logits.shape[1] != config.answer.typical:
            raise DamagedDataError(
                f"{path} has scores of {self.logits.shape[1]} typical crops, the model has {config.answer.typical}"
            )
        self._config, self._extractor = config, extractor
        self._augmentation, self._seed = augmentation, seed
        self._made: dict[int, View] = {}

    def __len__(self) -> int:
        return len(self.logits)

    def batch(self, rows: list[int], boxes: NDArray[np.float32], columns: NDArray[np.intp]) -> TaughtBatch:
        """Some views with some typical crops. boxes: [P, 4], all of them; columns: [V, T], which of them each view takes."""
        views = [self._view(row) for row in rows]
        logits = np.take_along_axis(self.logits[rows], columns, 1)
        aspects = torch.tensor([view.aspect for view in views])
        return TaughtBatch(views, aspects, torch.tensor(boxes[columns]), torch.tensor(logits))

    def _view(self, row: int) -> View:
        if row not in self._made:
            self._made[row] = self._draw(row)
        return self._made[row]

    @torch.no_grad()
    def _draw(self, row: int) -> View:
        image = Image.open(io.BytesIO(self._rows[row]["image"])).convert("RGB")  # type: ignore[arg-type]
        rng = np.random.default_rng(seed_for(self._seed, "taught", str(self._rows[row]["photo"]), row))
        pixels = degrade_image(recolour(image, self._augmentation, rng), self._augmentation, rng)
        whole = Targets(torch.tensor([[0.5, 0.5, 1.0, 1.0]]), torch.ones(1))
        made = prepare(pixels, self._config)
        if self._config.train_backbone:
            return View(made, None, image.width / image.height, whole)
        device = next(self._extractor.parameters()).device
        (levels,) = self._extractor.levels([made.to(device)])
        return View(None, tuple(level.half().cpu() for level in levels), image.width / image.height, whole)


def taught_loss(logits: Tensor, batch: TaughtBatch) -> Tensor:
    """Mean squared difference of logits [V, T] and the scorer's, both relative to their mean over the crops of a view."""
    wanted = batch.logits - batch.logits.mean(1, keepdim=True)
    return ((logits - logits.mean(1, keepdim=True)) - wanted).square().mean()


def write_taught(path: Path, rows: list[dict[str, object]]) -> None:
    """Writes a table in one step. rows: ``photo``, ``image`` (encoded bytes) and ``logits`` of all typical crops of each view."""
    with replacing(path) as aside:
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), aside)
