"""Training: from the shards, the neighbours and the references to a model folder.

A run can be stopped at any step and started again; it ends with the same weights. ``finished.json`` is written last.
"""

from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

from pipeline.core.errors import UsageError
from pipeline.core.seeds import seed_for
from procrop_model.model_folder.build_network import build_network
from procrop_model.model_folder.digest import model_digest
from procrop_model.model_folder.save_load import SavedModel, load_model
from procrop_model.network.config import CropperConfig, shares_pass
from procrop_model.network.crop_network import CropNetwork
from procrop_model.network.lite0_files import lite0_side
from procrop_model.network.published.coco import start_from
from procrop_model.retrieval.database import Neighbour, ReferenceDatabase
from procrop_model.retrieval.query_encoder import encoder_for
from procrop_model.training.config import TrainConfig, identity_of
from procrop_model.training.data_sources import TrainingData, read_data
from procrop_model.training.distributed import Processes
from procrop_model.training.run_files import read_finished
from procrop_model.training.samples import Samples, read_neighbours, references_of
from procrop_model.training.set_neighbours import neighbours_for
from procrop_model.training.signals import StopFlag
from procrop_model.training.trainer import Progress, Run

__all__ = ["TrainConfig", "train"]


def train(
    config: TrainConfig, dataset_dir: Path, *, retrieve_dir: Path, out_dir: Path, progress: Progress | None = None
) -> dict[str, Any]:
    """Trains on the ``train`` split, chooses the epoch on ``val_split``, writes ``out_dir/cropper`` and gives a summary.

    dataset_dir: of the weak labels; not read in supervised mode. retrieve_dir: the retrieve stage's folder, or any that has
    ``references``, as a cropper's folder has. progress(done steps, total steps, losses) is called after each step. Raises
    MissingUpstreamError without data, RefusedError when ``out_dir`` holds a run of other settings or data, UsageError
    for data that must not be trained on, InterruptedRunError after SIGINT or SIGTERM. In several processes (``processes.py``) all
    of them call this, with an ``out_dir`` that all see; one writes.
    """
    data = read_data(config, dataset_dir)
    database = ReferenceDatabase.load(references_of(retrieve_dir))
    start = load_model(config.init_from) if config.init_from else None
    identity = identity_of(
        config, data.labels(), database, start="" if start is None else model_digest(config.init_from)
    )
    if (summary := read_finished(out_dir, identity)) is not None:
        return summary
    sizes = _fitting(config.model, database, data.samples) if start is None else _as_saved(config, start, database)
    processes = Processes(config.device)
    network = first_network(sizes, config.seed, start)
    with processes.main_first():
        neighbours = _neighbours(config, data, database, retrieve_dir, out_dir)
        start_from(network, config.init, out_dir)
    run = Run(replace(config, model=sizes), network, out_dir, identity=identity, processes=processes)
    run.feed(data, neighbours, database)
    with StopFlag() as stop:
        return run.go(stop, progress)


def first_network(sizes: CropperConfig, seed: int, start: SavedModel | None) -> CropNetwork:
    """The network that a run begins with: random heads by seed, or a trained cropper's weights."""
    torch.manual_seed(seed_for(seed, "weights", ""))
    network = build_network(sizes)
    if start is not None:
        network.load_state_dict(start.network.state_dict())
    return network


def _fitting(sizes: CropperConfig, database: ReferenceDatabase, samples: Samples) -> CropperConfig:
    """The sizes with what the data dictate: the references' channels and encoder, its input for one shared pass, and the
    median long side of the canvases.
    """
    side = (lite0_side(database.encoder) if shares_pass(sizes) else 0) or sizes.input_side
    count, channels = (int(size) for size in database.tokens.shape[1:])
    long_side = int(median(max(sample.width, sample.height) for sample in samples.labels()))
    return replace(
        sizes, encoder=database.encoder, reference_dim=channels, reference_tokens=count, input_side=side,
        source_side=long_side,
    )  # fmt: skip


def _as_saved(config: TrainConfig, start: SavedModel, database: ReferenceDatabase) -> CropperConfig:
    """The sizes of the cropper that is trained on; only k may be another."""
    if start.config.encoder != database.encoder:
        raise UsageError(
            f"init_from: the cropper in {config.init_from} looks at references through encoder {start.config.encoder}, these "
            f"were made with {database.encoder}: retrieve with its encoder, or train from the beginning"
        )
    return replace(start.config, k=config.model.k)


def _neighbours(
    config: TrainConfig, data: TrainingData, database: ReferenceDatabase, retrieve_dir: Path, out_dir: Path
) -> dict[str, list[Neighbour]]:
    """Those of the retrieve stage, and of the sets that it did not see."""
    found = read_neighbours(retrieve_dir)
    if len(data.annotated):
        encoder = encoder_for(database, None, config.device)
        found |= neighbours_for(
            data.annotated,
            data.annotated.keys,
            database=database,
            encode=encoder.vectors,
            k=config.model.k,
            folder=out_dir,
        )
    return found
