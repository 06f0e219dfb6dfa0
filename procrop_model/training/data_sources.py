"""Training and validation data of a run: weakly annotated canvases, converted public sets, or both."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from pipeline.core.errors import MissingUpstreamError, UsageError
from pipeline.shards.epoch_order import EpochOrder
from procrop_model.training.config import MIXED, WEAK, TrainConfig
from procrop_model.training.mixed_sampling import ConcatenatedSamples, MixedOrder
from procrop_model.training.samples import ANNOTATED, CanvasSample, CanvasSet, Samples, read_split


class DataCounts(TypedDict):
    """samples: training images; annotated: how many of them people annotated; an_epoch: images shown per epoch; validation:
    validation images; sets: names of the public sets.
    """

    samples: int
    annotated: int
    an_epoch: int
    validation: int
    sets: list[str]


@dataclass(frozen=True)
class TrainingData:
    """The data of a run.

    Args:
        samples: training samples.
        order: the order in which each epoch shows them.
        validation: samples on which the best epoch is chosen; may be empty.
        annotated: training and validation samples of public sets, for which no ``retrieve`` stage has searched neighbours.
        annotated_count: how many of ``samples`` come from public sets.
        sets: folder names of those sets.
    """

    samples: Samples
    order: EpochOrder
    validation: Samples
    annotated: Samples
    annotated_count: int
    sets: tuple[str, ...]

    def labels(self) -> Iterator[CanvasSample]:
        """All samples with their image bytes left empty, training samples first."""
        yield from self.samples.labels()
        yield from self.validation.labels()

    def counts(self) -> DataCounts:
        """The counts that a summary lists."""
        return {
            "samples": len(self.samples), "annotated": self.annotated_count, "an_epoch": self.order.count,
            "validation": len(self.validation), "sets": list(self.sets),
        }  # fmt: skip


def read_data(config: TrainConfig, dataset_dir: Path) -> TrainingData:
    """The data of ``config.mode``; dataset_dir: the weak dataset.

    Raises MissingUpstreamError when the mode needs weak shards and there are none. Raises UsageError for a public set without a
    train split (a test set is never trained on) or with weak labels, and when a photograph is in both splits.
    """
    if config.mode == WEAK:
        weak = read_split(dataset_dir, "train")
        validation = read_split(dataset_dir, config.val_split, needed=False)
        order = EpochOrder(len(weak), config.batch.size, config.seed, lanes=True)
        return _checked(TrainingData(weak, order, validation, ConcatenatedSamples([]), 0, ()))
    folders = [Path(folder) for folder in config.sets]
    annotated = ConcatenatedSamples([_annotated(folder) for folder in folders])
    held_out = ConcatenatedSamples([read_split(folder, config.val_split, needed=False) for folder in folders])
    names, both = tuple(folder.resolve().name for folder in folders), ConcatenatedSamples([annotated, held_out])
    if config.mode != MIXED:
        order = EpochOrder(len(annotated), config.batch.size, config.seed, lanes=True)
        return _checked(TrainingData(annotated, order, held_out, both, len(annotated), names))
    weak = read_split(dataset_dir, "train")
    order = MixedOrder(len(weak), len(annotated), config.annotated_share, config.batch.size, config.seed)
    # Crops that people annotated are the better measure; weak ones serve where there are none.
    validated: Samples = held_out if len(held_out) else read_split(dataset_dir, config.val_split, needed=False)
    return _checked(TrainingData(ConcatenatedSamples([weak, annotated]), order, validated, both, len(annotated), names))


def _annotated(folder: Path) -> CanvasSet:
    try:
        samples = read_split(folder, "train")
    except MissingUpstreamError as error:
        raise UsageError(f"train.sets: {folder} has no train split; a test set is never trained on") from error
    if weak := next((sample.key for sample in samples.labels() if not sample.annotated), None):
        raise UsageError(
            f"train.sets: {folder} is no converted public set: sample '{weak}' has crops of another origin than '{ANNOTATED}'"
        )
    return samples


def _checked(data: TrainingData) -> TrainingData:
    trained = {sample.photo for sample in data.samples.labels()}
    if both := sorted(trained & {sample.photo for sample in data.validation.labels()}):
        raise UsageError(
            f"train: {len(both)} photographs are both in the train and in the validation split, first '{both[0]}': "
            "the best epoch would be chosen on training data"
        )
    return data
