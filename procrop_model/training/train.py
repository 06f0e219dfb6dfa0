"""Training: from the shards, the neighbours and the references to a model folder.

A run can be stopped at any step and resumed; it ends with the same weights. ``finished.json`` is written last.
"""

from dataclasses import replace
from pathlib import Path
from statistics import median

import torch

from pipeline.core.errors import UsageError
from pipeline.core.processor import precision_for
from pipeline.core.seeds import seed_for
from procrop_model.model_folder.build_network import LITE0, build_network
from procrop_model.model_folder.digest import model_digest
from procrop_model.model_folder.save_load import SavedModel, load_model
from procrop_model.network.config import CropperConfig, shares_pass
from procrop_model.network.crop_network import CropNetwork
from procrop_model.network.fold_batchnorm import fold_batchnorms
from procrop_model.network.lite0_files import lite0_side
from procrop_model.network.published.coco import start_from
from procrop_model.retrieval.database import Neighbour, ReferenceDatabase
from procrop_model.retrieval.query_encoder import encoder_for
from procrop_model.training.config import TrainConfig, identity_of
from procrop_model.training.data_sources import TrainingData, read_data
from procrop_model.training.distributed import Processes
from procrop_model.training.run_files import RunFolder
from procrop_model.training.samples import RetrievalResults, Samples, read_neighbours, references_of
from procrop_model.training.set_neighbours import neighbours_for
from procrop_model.training.signals import StopFlag
from procrop_model.training.trainer import Progress, Trainer
from procrop_model.training.training_report import TrainingSummary

__all__ = ["TrainConfig", "train"]
# Factors of the RoI head's outputs in the answer, where composition was taught: chosen on people's crops (docs/people.md).
FIT, COMPOSITION = 0.0, 1.5


def train(
    config: TrainConfig, dataset_dir: Path, *, retrieve_dir: Path, out_dir: Path, progress: Progress | None = None
) -> TrainingSummary:
    """Trains on the ``train`` split, chooses the epoch on ``val_split``, writes ``out_dir/cropper`` and gives the summary.

    A finished run is not repeated: its summary is read. With several processes (``distributed.py``) each of them calls this, with
    an ``out_dir`` on a shared disk; the main process writes.

    Args:
        config: settings of the run.
        dataset_dir: dataset with weak labels; not read in supervised mode.
        retrieve_dir: folder of the retrieve stage, or any folder with ``references``, such as a cropper's.
        out_dir: folder of the run.
        progress: called after each step with (done steps, total steps, losses by name).

    Raises MissingUpstreamError without data, RefusedError when ``out_dir`` holds a run of other settings or data, UsageError
    for data that must not be trained on, InterruptedRunError after SIGINT or SIGTERM.
    """
    config = replace(config, precision=_precision_of(config))  # part of the identity
    data = read_data(config, dataset_dir)
    database = ReferenceDatabase.load(references_of(retrieve_dir))
    start = load_model(config.init_from) if config.init_from else None
    identity = identity_of(
        config, data.labels(), database, start="" if start is None else model_digest(config.init_from)
    )
    folder = RunFolder(out_dir, identity)
    if (summary := folder.read_summary()) is not None:
        return summary
    sizes = (
        _fitting(config.model, database, data.samples, taught=bool(config.taught))
        if start is None
        else _as_saved(config, start, database)
    )
    processes = Processes(config.device)
    network = first_network(sizes, config.seed, start)
    with processes.main_first():
        retrieval = RetrievalResults(database, _neighbours(config, data, database, retrieve_dir, out_dir))
        start_from(network, config.init, out_dir)
    if sizes.backbone == LITE0 and not sizes.train_backbone:  # frozen and bundled: neither learned nor saved
        fold_batchnorms(network.extractor.backbone)
    trainer = Trainer(
        replace(config, model=sizes), network, data, retrieval=retrieval, folder=folder, processes=processes
    )
    with StopFlag() as stop:
        return trainer.run(stop, progress)


def _precision_of(config: TrainConfig) -> str:
    """``fp32`` or ``bf16``. On a processor, ``auto`` is bf16 only if the backbone learns.

    Features of a frozen one are kept, and the rest of the network is so small that conversions cost more than bf16 saves: a step
    of the default took 1.1 times as long.
    """
    if config.precision == "auto" and config.device == "cpu" and not config.model.train_backbone:
        return "fp32"
    return precision_for(config.precision, config.device)


def first_network(sizes: CropperConfig, seed: int, start: SavedModel | None) -> CropNetwork:
    """The network at the start of a run: random heads by ``seed``, or the weights of the cropper ``start``."""
    torch.manual_seed(seed_for(seed, "weights", ""))
    network = build_network(sizes)
    if start is not None:
        network.load_state_dict(start.network.state_dict())
    return network


def _fitting(
    sizes: CropperConfig, database: ReferenceDatabase, samples: Samples, *, taught: bool = False
) -> CropperConfig:
    """``sizes`` with the values that the data determine: channels, tokens and encoder of the references, the encoder's input
    side where backbone and retrieval share one pass, and the median long side of the canvases.
    """
    side = (lite0_side(database.encoder) if shares_pass(sizes) else 0) or sizes.input_side
    count, channels = (int(size) for size in database.tokens.shape[1:])
    long_side = int(median(max(sample.width, sample.height) for sample in samples.labels()))
    answer = replace(sizes.answer, fit=FIT, composition=COMPOSITION) if taught else sizes.answer
    return replace(
        sizes, answer=answer, encoder=database.encoder, reference_dim=channels, reference_tokens=count, input_side=side,
        source_side=long_side,
    )  # fmt: skip


def _as_saved(config: TrainConfig, start: SavedModel, database: ReferenceDatabase) -> CropperConfig:
    """The sizes of the cropper that training starts from; only k may differ."""
    if start.config.encoder != database.encoder:
        raise UsageError(
            f"init_from: the cropper in {config.init_from} needs references of encoder {start.config.encoder}, these "
            f"were made with {database.encoder}: retrieve with its encoder, or train from the beginning"
        )
    return replace(start.config, k=config.model.k)


def _neighbours(
    config: TrainConfig, data: TrainingData, database: ReferenceDatabase, retrieve_dir: Path, out_dir: Path
) -> dict[str, list[Neighbour]]:
    """Neighbours by sample key: those of the retrieve stage, and searched ones for public sets."""
    neighbours = read_neighbours(retrieve_dir)
    if len(data.annotated):
        encoder = encoder_for(database, None, config.device)
        neighbours |= neighbours_for(
            data.annotated,
            data.annotated.keys,
            database=database,
            encode=encoder.vectors,
            k=config.model.k,
            folder=out_dir,
        )
    return neighbours
