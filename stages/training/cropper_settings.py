"""Settings of the cropper's training as a recipe states them; turned into the trainer's own dataclass."""

from typing import Any, Literal

from pydantic import Field, model_validator

from pipeline.core.settings import Settings


class NetworkSettings(Settings):
    """Which network a recipe trains: ``train.model.*``. Empty fields, and all other sizes, keep the architecture's own.

    Args:
        architecture: ``procrop`` or ``published``, with its sizes (``procrop_model/network/config.py``).
        fusion: how features of references join those of the canvas.
        backbone: ``lite0`` or a timm name, which starts without weights unless ``train.init`` gives them.
        train_backbone: whether the backbone is trained, too.
        input_side: side of the network's input in pixels.
        input_mode: whether a canvas is resized to a square or fitted into it.
        text_dim: channels of the captions' features; 0 for none.
        matching: whether attention also compares references by the features of the retrieval encoder.
    """

    architecture: Literal["procrop", "published"] = "procrop"
    fusion: Literal["", "attention", "token_mlp", "none"] = ""
    backbone: str = ""
    train_backbone: bool | None = None
    input_side: int = Field(0, ge=0, multiple_of=32)
    input_mode: Literal["", "square", "fit"] = ""
    text_dim: int = Field(0, ge=0, le=4096)
    matching: bool | None = None

    def changes(self) -> dict[str, Any]:
        """The fields that differ from their defaults, without the architecture."""
        return self.model_dump(exclude={"architecture"}, exclude_defaults=True)


class AugmentSettings(Settings):
    """Training views of a canvas, and probabilities of augmentations. Boxes move with the picture; the pseudo-label is never cut.

    Args:
        fill: least and greatest share of a view that the pseudo-label fills.
        kept: probabilities of a margin at the left and right side, and at the top and bottom.
        whole: of a view that is the pseudo-label alone.
        mirror: of mirroring left and right.
        colour: of changing brightness, contrast and saturation.
        grey: of removing colour.
        degrade: of each of resizing, blur, noise and JPEG over the whole canvas, so that the seam is no cue.
        annotated_trim: of cutting margins off a picture with human annotations.
    """

    fill: tuple[float, float] = (0.4, 0.95)
    kept: tuple[float, float] = (0.6, 0.75)
    whole: float = Field(0.05, ge=0, le=1)
    mirror: float = Field(0.5, ge=0, le=1)
    colour: float = Field(0.3, ge=0, le=1)
    grey: float = Field(0.1, ge=0, le=1)
    degrade: float = Field(0.5, ge=0, le=1)
    annotated_trim: float = Field(0.3, ge=0, le=1)

    @model_validator(mode="after")
    def _shares(self) -> "AugmentSettings":
        if not 0 < self.fill[0] <= self.fill[1] <= 1 or not all(0 <= chance <= 1 for chance in self.kept):
            raise ValueError(
                f"augment: fill {self.fill} must be two rising shares of 0..1, kept {self.kept} two of 0..1"
            )
        return self


class TargetSettings(Settings):
    """Which crops of a picture with human annotations are targets: the best one, and others with a high score.

    Args:
        least_score: of a target beside the best one, in 0..10.
        most: targets of a picture at most.
    """

    least_score: float = Field(7.0, ge=0, le=10)
    most: int = Field(8, ge=1)


class TeacherSettings(Settings):
    """The published EMA teacher, whose predictions give half of the class loss.

    Args:
        used: whether there is a teacher.
        beta: share of its weights that the teacher keeps at each epoch.
        start: share of the epochs after which it is used.
    """

    used: bool = False
    beta: float = Field(0.5, ge=0, lt=1)
    start: float = Field(0.9, ge=0, le=1)


class TrainSettings(Settings):
    """Training of the cropper. Sizes of the network beyond ``model``, and the weights of the loss, keep the trainer's defaults.

    Args:
        mode: ``weak`` trains on the run's labels, ``supervised`` on annotated sets, ``mixed`` on both.
        sets: folders that ``convert`` made, for ``supervised`` and ``mixed``.
        annotated_share: of the canvases of a ``mixed`` training that come from the sets.
        scored_windows: windows of each train photograph that the run's scorer scores, from which composition is learned; 0 for
            none.
        init_from: folder of a cropper to start from (fine-tuning); empty for none.
        val_split: split on which the best epoch is chosen.
        seed: of the weights, the order of the canvases and the augmentations.
        epochs: passes over the train split.
        batch: canvases of a step.
        accumulate: parts that a step's batch is computed in, to save memory.
        learning_rate: of AdamW, at its maximum.
        weight_decay: of AdamW.
        clip: largest norm of the gradient.
        warmup: share of the steps over which the learning rate rises.
        schedule: ``cosine`` to 0, or ``step``: a tenth of the rate after each of ``drops``.
        drops: shares of the steps, for the schedule ``step``.
        average: decay of the weights' moving average, a step.
        patience: epochs without a better IoU on val_split after which training stops; 0 for never.
        k: references of a canvas; 0 for the model without retrieval.
        precision: of the network's computations; ``auto`` is bf16 on a GPU and, if the backbone is trained, on a processor
            with instructions for it; else fp32.
        compiler: a backend of ``torch.compile`` such as ``inductor``; empty for none.
        workers: threads that load canvases ahead; 0 for none.
        init: folder of a downloaded COCO Conditional DETR in the hub's layout to start from; the model folder's ``init.txt``
            lists the weights that were taken.
        model: which network (docs/cropper.md).
        augment: augmentations of the canvases.
        targets: targets of annotated pictures.
        teacher: the EMA teacher.
    """

    mode: Literal["weak", "supervised", "mixed"] = "weak"
    sets: tuple[str, ...] = ()
    annotated_share: float = Field(0.5, gt=0, lt=1)
    scored_windows: int = Field(4, ge=0, le=64)
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
    precision: Literal["auto", "fp32", "bf16"] = "auto"
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
