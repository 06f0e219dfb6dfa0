"""Settings of the cropper's training as a recipe states them; turned into the trainer's own dataclass."""

from typing import Literal

from pydantic import Field, model_validator

from pipeline.core.settings import Settings
from stages.training.network_settings import NetworkSettings


class AugmentSettings(Settings):
    """Chances and strengths; picture and boxes move together, and the pseudo-label always stays whole.

    trim: of cutting margins off; tight: of cutting a side right to the pseudo-label; whole: of cutting nearly all margins;
    mirror; colour: of brightness, contrast and saturation; grey; degrade: of each of smaller-and-back, blur, noise and JPEG over
    the whole canvas, against seams; annotated_trim: of cutting margins off a picture that people judged.
    """

    trim: float = Field(0.7, ge=0, le=1)
    tight: float = Field(0.1, ge=0, le=1)
    whole: float = Field(0.12, ge=0, le=1)
    mirror: float = Field(0.5, ge=0, le=1)
    colour: float = Field(0.3, ge=0, le=1)
    grey: float = Field(0.1, ge=0, le=1)
    degrade: float = Field(0.5, ge=0, le=1)
    annotated_trim: float = Field(0.3, ge=0, le=1)


class TargetSettings(Settings):
    """Which crops of a picture that people judged are targets: the best, and those of at least least_score (0..10), most in all."""

    least_score: float = Field(7.0, ge=0, le=10)
    most: int = Field(8, ge=1)


class TeacherSettings(Settings):
    """The published EMA teacher gives half the class loss after ``start``, a share of the epochs. beta: what it keeps an epoch."""

    used: bool = False
    beta: float = Field(0.5, ge=0, lt=1)
    start: float = Field(0.9, ge=0, le=1)


class TrainSettings(Settings):
    """mode: weak labels of the run, ``supervised`` on sets (folders that ``convert`` made), or ``mixed``, where annotated_share
    of what is shown comes from the sets; init_from: a cropper's folder to start from (fine-tuning); init: folder of a downloaded
    COCO Conditional DETR (the hub's layout) to start from, of which the model folder's ``init.txt`` tells what was taken.

    epochs, batch: passes over the train split and canvases a step, in ``accumulate`` parts; k: references a canvas (0: the plain
    model); patience: epochs without a better IoU on val_split after which to stop, 0 for never; schedule ``step``: a tenth
    of the rate after each of drops (shares of the run); average: decay of the weights' moving average; compiler: a torch.compile
    backend such as ``inductor``; workers: threads that draw pictures ahead.
    model: which network (docs/cropper.md); its other sizes and the weights of the loss keep the trainer's defaults.
    """

    mode: Literal["weak", "supervised", "mixed"] = "weak"
    sets: tuple[str, ...] = ()
    annotated_share: float = Field(0.5, gt=0, lt=1)
    init_from: str = ""
    val_split: str = Field("val", pattern=r"^[a-z0-9_]+$")
    seed: int = 0
    epochs: int = Field(40, ge=1)
    batch: int = Field(8, ge=1)
    accumulate: int = Field(1, ge=1)
    learning_rate: float = Field(5e-4, gt=0)
    weight_decay: float = Field(1e-4, ge=0)
    clip: float = Field(1.0, gt=0)
    warmup: float = Field(0.05, ge=0, le=1)
    schedule: Literal["cosine", "step"] = "cosine"
    drops: tuple[float, ...] = (0.8,)
    average: float = Field(0.99, ge=0, lt=1)
    patience: int = Field(15, ge=0)
    k: int = Field(5, ge=0, le=100)
    precision: Literal["fp32", "bf16"] = "fp32"
    compiler: str = ""
    workers: int = Field(0, ge=0)
    init: str = ""
    model: NetworkSettings = NetworkSettings()
    augment: AugmentSettings = AugmentSettings()
    targets: TargetSettings = TargetSettings()
    teacher: TeacherSettings = TeacherSettings()

    @model_validator(mode="after")
    def _fits(self) -> "TrainSettings":
        if self.val_split in ("test", "train"):
            raise ValueError(f"val_split '{self.val_split}': the epoch is never chosen on the {self.val_split} split")
        if (self.mode == "weak") != (not self.sets):
            wanted = "takes no sets" if self.mode == "weak" else "needs sets: folders that 'procrop-data convert' made"
            raise ValueError(f"mode '{self.mode}' {wanted}")
        if self.init and self.init_from:
            raise ValueError("init and init_from both say what to start from: give one")
        return self
