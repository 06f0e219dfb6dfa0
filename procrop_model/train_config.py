"""Settings of a training run, and what makes two runs the same."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline.seeds import digest_of
from procrop_model.augment import AugmentConfig
from procrop_model.batches import BatchConfig
from procrop_model.config import CropperConfig
from procrop_model.data import CanvasSample
from procrop_model.losses import LossConfig
from procrop_model.references import ReferenceDatabase


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a run; every field is part of its identity except ``checkpoint_seconds``.

    average: decay of the moving average of weights, which is what is validated and saved. patience: epochs without a
    better validation IoU after which to stop, 0 for never. init: folder of a Conditional DETR in the hub's layout whose
    weights to start from, empty for none (``published/coco.py``).
    """

    seed: int = 0
    epochs: int = 40
    learning_rate: float = 5e-4
    backbone_rate: float = 1e-5
    weight_decay: float = 1e-4
    clip: float = 1.0
    warmup: float = 0.05
    average: float = 0.99
    patience: int = 15
    checkpoint_seconds: float = 60.0
    device: str = "cpu"
    init: str = ""
    model: CropperConfig = field(default_factory=CropperConfig)
    batch: BatchConfig = field(default_factory=BatchConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)


def settings_of(config: TrainConfig) -> dict[str, Any]:
    """What shapes the weights, beside the model's sizes, as JSON."""
    return {name: value for name, value in asdict(config).items() if name not in ("checkpoint_seconds", "model")}


def identity_of(config: TrainConfig, samples: Iterable[CanvasSample], database: ReferenceDatabase) -> str:
    """Digest of settings, samples and references: a run only goes on, or counts as done, under the same one."""
    listing = [[sample.key, sample.crops, sample.scores] for sample in samples]
    references = [entry.key for entry in database.entries]
    return digest_of([settings_of(config), config.model.to_json(), listing, references, database.encoder])[:16]
