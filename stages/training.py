"""Settings of the cropper's training as a recipe states them; turned into the trainer's own dataclass."""

from pydantic import Field

from pipeline.settings import Settings
from stages.training_model import NetworkSettings


class TrainSettings(Settings):
    """epochs, batch: passes over the train split and canvases a step; k: references a canvas (0: the plain model).

    init: folder of a downloaded COCO Conditional DETR (the hub's layout) to start from, of which the model folder's ``init.txt``
    tells what was taken. model: which network (docs/cropper.md).
    Other sizes of the model and weights of the loss keep the trainer's defaults (``procrop_model/config.py``).
    """

    seed: int = 0
    epochs: int = Field(40, ge=1)
    batch: int = Field(8, ge=1)
    learning_rate: float = Field(5e-4, gt=0)
    patience: int = Field(15, ge=0)
    k: int = Field(5, ge=0, le=100)
    init: str = ""
    model: NetworkSettings = NetworkSettings()
