"""The saved model: a self-contained folder of ``config.json``, ``model.safetensors`` and ``references/``."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from pipeline.core.errors import ModelError
from pipeline.core.json_types import JsonObject
from pipeline.core.replace_file import replacing
from procrop_model.model_folder.build_network import build_network
from procrop_model.model_folder.cropper_config import FORMAT, VERSION, read_cropper_config
from procrop_model.network.config import CropperConfig
from procrop_model.network.crop_network import CropNetwork
from procrop_model.network.lite0 import file_digest, weights_path
from procrop_model.retrieval.database import ReferenceDatabase

_BACKBONE = "extractor.backbone."


@dataclass(frozen=True)
class SavedModel:
    """The content of a model folder. trained: summary and settings of its training."""

    network: CropNetwork
    config: CropperConfig
    references: ReferenceDatabase
    trained: JsonObject


def learned_state(network: CropNetwork, config: CropperConfig) -> dict[str, Tensor]:
    """The tensors that training may change, and those of a backbone that is not bundled."""
    bundled = config.backbone == "lite0" and not config.train_backbone
    state = network.state_dict()
    return {name: value for name, value in state.items() if not (bundled and name.startswith(_BACKBONE))}


def save_model(
    folder: Path,
    state: dict[str, Tensor],
    *,
    config: CropperConfig,
    references: ReferenceDatabase,
    trained: Mapping[str, object],
) -> None:
    """Writes a model folder, ``config.json`` last, so that an unfinished one does not load.

    Args:
        folder: created if missing.
        state: from ``learned_state``.
        config: sizes of the network.
        references: the references it was trained with.
        trained: summary and settings of the training, as JSON.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").unlink(missing_ok=True)
    references.save(folder / "references")
    with replacing(folder / "model.safetensors") as aside:
        save_file({name: value.detach().cpu().contiguous() for name, value in state.items()}, str(aside))
    about = {
        "format": FORMAT,
        "version": VERSION,
        "cropper": config.to_json(),
        "lite0": file_digest(str(weights_path())),
        "weights": file_digest(str(folder / "model.safetensors")),
        "trained": trained,
    }
    with replacing(folder / "config.json") as aside:
        aside.write_text(json.dumps(about, indent=1), "utf-8")


def load_model(folder: Path | str) -> SavedModel:
    """The network in eval mode with its references. Raises ModelError when the folder is missing, foreign or
    damaged.
    """
    home = Path(folder)
    about = read_cropper_config(home)
    config = CropperConfig.from_json(about["cropper"])
    network = build_network(config)
    try:
        state = load_file(str(home / "model.safetensors"))
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"the weights in {home} are missing or truncated, train or copy the model anew: {error}"
        ) from error
    expected = learned_state(network, config)
    if wrong := sorted(
        name
        for name in expected.keys() | state.keys()
        if name not in state or name not in expected or state[name].shape != expected[name].shape
    ):
        raise ModelError(
            f"the weights in {home} do not fit their config: {len(wrong)} tensors differ, first {wrong[0]}"
        )
    network.load_state_dict(state, strict=False)
    references = ReferenceDatabase.load(home / "references", config.encoder or None)
    return SavedModel(network.eval(), config, references, about.get("trained", {}))
