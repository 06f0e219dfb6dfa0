"""What a run trains and is validated on: weak canvases of a run, converted public sets, or both."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import MissingUpstreamError, UsageError
from pipeline.shards.epoch_order import EpochOrder
from procrop_model.training.config import MIXED, WEAK, TrainConfig
from procrop_model.training.mixed_sampling import JoinedSet, MixedOrder
from procrop_model.training.samples import ANNOTATED, CanvasSample, CanvasSet, Samples, read_split


@dataclass(frozen=True)
class TrainingData:
    """samples: to train on; order: of them, by epoch; validation: to choose the epoch on, may be empty; annotated: the sets, train
    and validation, that no ``retrieve`` stage saw; judged: how many of the samples are annotated; sets: their folders' names.
    """

    samples: Samples
    order: EpochOrder
    validation: Samples
    annotated: Samples
    judged: int
    sets: tuple[str, ...]

    def labels(self) -> Iterator[CanvasSample]:
        """All samples with an empty picture, those to train on first."""
        yield from self.samples.labels()
        yield from self.validation.labels()

    def about(self) -> dict[str, int | list[str]]:
        """Counts for people."""
        return {
            "samples": len(self.samples), "annotated": self.judged, "an_epoch": self.order.count,
            "validation": len(self.validation), "sets": list(self.sets),
        }  # fmt: skip


def read_data(config: TrainConfig, dataset_dir: Path) -> TrainingData:
    """The data of a mode. Raises MissingUpstreamError without weak shards where they are wanted, UsageError for a set without a
    train split (a test set is never trained on), with weak labels, or with pictures both to train and to choose on.
    """
    if config.mode == WEAK:
        weak = read_split(dataset_dir, "train")
        validation = read_split(dataset_dir, config.val_split, needed=False)
        order = EpochOrder(len(weak), config.batch.size, config.seed, lanes=True)
        return _checked(TrainingData(weak, order, validation, JoinedSet([]), 0, ()))
    folders = [Path(folder) for folder in config.sets]
    judged = JoinedSet([_annotated(folder) for folder in folders])
    held_out = JoinedSet([read_split(folder, config.val_split, needed=False) for folder in folders])
    names, unseen = tuple(folder.resolve().name for folder in folders), JoinedSet([judged, held_out])
    if config.mode != MIXED:
        order = EpochOrder(len(judged), config.batch.size, config.seed, lanes=True)
        return _checked(TrainingData(judged, order, held_out, unseen, len(judged), names))
    weak = read_split(dataset_dir, "train")
    order = MixedOrder(len(weak), len(judged), config.annotated_share, config.batch.size, config.seed)
    # People's crops are the better judge; weak ones are, where there are none.
    chosen_on: Samples = held_out if len(held_out) else read_split(dataset_dir, config.val_split, needed=False)
    return _checked(TrainingData(JoinedSet([weak, judged]), order, chosen_on, unseen, len(judged), names))


def _annotated(folder: Path) -> CanvasSet:
    try:
        found = read_split(folder, "train")
    except MissingUpstreamError as error:
        raise UsageError(
            f"train.sets: {folder} has no train split; a set that is only tested on is never trained on"
        ) from error
    if weak := next((sample.key for sample in found.labels() if not sample.annotated), None):
        raise UsageError(
            f"train.sets: {folder} is no converted public set: sample '{weak}' has crops of another origin than '{ANNOTATED}'"
        )
    return found


def _checked(data: TrainingData) -> TrainingData:
    trained = {sample.photo for sample in data.samples.labels()}
    if both := sorted(trained & {sample.photo for sample in data.validation.labels()}):
        raise UsageError(
            f"train: {len(both)} photographs are both in the train and in the validation split, first '{both[0]}': "
            "the epoch would be chosen on what was learned by heart"
        )
    return data
