"""Settings of a training run, and what makes two runs the same."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline.core.errors import UsageError
from pipeline.core.processor import PRECISIONS
from pipeline.core.resources import file_digest
from pipeline.core.seeds import digest_of
from procrop_model.network.config import CropperConfig
from procrop_model.retrieval.database import ReferenceDatabase
from procrop_model.training.augment import AugmentConfig
from procrop_model.training.batches import BatchConfig
from procrop_model.training.ema_teacher import TeacherConfig
from procrop_model.training.losses import LossConfig
from procrop_model.training.samples import CanvasSample
from procrop_model.training.targets import TargetConfig

WEAK, SUPERVISED, MIXED = "weak", "supervised", "mixed"
# What decides how fast a run is, or where its data lie; its data themselves are in the identity.
NOT_SHAPING = ("checkpoint_seconds", "workers", "sets", "init_from", "model", "taught")


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a run; every field is part of its identity except those of ``NOT_SHAPING``.

    Args:
        seed: of the initial weights, the order of samples, augmentation and dropout.
        epochs: passes over the training split.
        learning_rate: of all weights but the backbone's, after the warm-up.
        backbone_rate: learning rate of the backbone.
        weight_decay: of AdamW.
        clip: largest norm of the gradient.
        warmup: share of the run in which the learning rates rise linearly, 0..1.
        schedule: ``cosine``, or ``step``: a tenth of the rate after each of ``drops``.
        drops: shares of the run, 0..1.
        average: decay of the moving average of weights, which is what is validated and saved.
        patience: epochs without a better IoU on ``val_split`` after which to stop, 0 for never.
        checkpoint_seconds: between two checkpoints.
        device: of PyTorch, such as ``cpu`` or ``cuda``.
        init: the folder of a Conditional DETR in the hub's layout whose weights to start from (``published/coco.py``).
        mode: ``weak``: the labels of a run; ``supervised``: the crops that people judged in ``sets``; ``mixed``: both.
        sets: folders of converted public sets.
        annotated_share: in ``mixed``, the share of annotated samples, between 0 and 1.
        taught: table of scored photographs (``taught.py``), from which composition is learned; empty for none.
        val_split: on which the epoch is chosen.
        init_from: a cropper's model folder to start from.
        precision: ``fp32``, ``bf16``, or ``auto``, the faster of them (``train.py``).
        accumulate: parts in which a batch goes through the network.
        compiler: a torch.compile backend, "" for none.
        workers: threads that decode and augment ahead.
        model: the network's settings.
        batch: the make-up of a batch.
        loss: weights of the loss terms.
        augment: ranges of the augmentation.
        targets: which crops of an annotated image the queries are matched with.
        teacher: settings of the EMA teacher.
    """

    seed: int = 0
    epochs: int = 40
    learning_rate: float = 5e-4
    backbone_rate: float = 1e-5
    weight_decay: float = 1e-4
    clip: float = 1.0
    warmup: float = 0.05
    schedule: str = "cosine"
    drops: tuple[float, ...] = (0.8,)
    average: float = 0.99
    patience: int = 15
    checkpoint_seconds: float = 60.0
    device: str = "cpu"
    init: str = ""
    mode: str = WEAK
    sets: tuple[str, ...] = ()
    annotated_share: float = 0.5
    taught: str = ""
    val_split: str = "val"
    init_from: str = ""
    precision: str = "auto"
    accumulate: int = 1
    compiler: str = ""
    workers: int = 0
    model: CropperConfig = field(default_factory=CropperConfig)
    batch: BatchConfig = field(default_factory=BatchConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    targets: TargetConfig = field(default_factory=TargetConfig)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)

    def __post_init__(self) -> None:
        _one_of("mode", self.mode, (WEAK, SUPERVISED, MIXED))
        _one_of("schedule", self.schedule, ("cosine", "step"))
        _one_of("precision", self.precision, PRECISIONS)
        if self.val_split in ("test", "train"):
            raise UsageError(
                f"train: val_split '{self.val_split}': the epoch is never chosen on the {self.val_split} split; "
                "name one that is neither trained nor tested on, such as 'val'"
            )
        if (self.mode == WEAK) != (not self.sets):
            wanted = "takes no" if self.mode == WEAK else "needs"
            raise UsageError(f"train: mode '{self.mode}' {wanted} sets (folders that `procrop-data convert` made)")
        if not 0 < self.annotated_share < 1 or self.accumulate < 1:
            raise UsageError("train: annotated_share lies between 0 and 1, accumulate is 1 at least")


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UsageError(f"train: {name} '{value}' is none of {', '.join(known)}")


def settings_of(config: TrainConfig) -> dict[str, Any]:
    """What shapes the weights, beside the model's sizes, as JSON."""
    shaping = {name: value for name, value in asdict(config).items() if name not in NOT_SHAPING}
    if config.loss.alpha is None:
        del shaping["loss"]["alpha"]  # as in runs of before there was one
    return shaping


def identity_of(
    config: TrainConfig, samples: Iterable[CanvasSample], database: ReferenceDatabase, start: str = ""
) -> str:
    """Digest of settings, samples, references and of the weights it starts from (``start``): a run only goes on, or counts as
    done, under the same one.
    """
    listing = [[sample.key, sample.crops, sample.scores, sample.annotated] for sample in samples]
    references = [entry.key for entry in database.entries]
    taught = file_digest(config.taught) if config.taught else ""
    parts = [settings_of(config), config.model.to_json(), listing, references, database.encoder, start, taught]
    return digest_of(parts)[:16]
