"""Which network a recipe trains: ``train.model.*``."""

from typing import Any, Literal

from pydantic import Field

from pipeline.core.settings import Settings


class NetworkSettings(Settings):
    """architecture: ``procrop`` or ``published`` with its sizes (``procrop_model/network/config.py``). fusion: how references join.

    backbone: ``lite0`` or a timm name, which starts without weights unless ``train.init`` gives them; train_backbone: whether it
    learns. text_dim: channels of captions, 0 for none. matching: whether attention also compares as the encoder does. Empty
    fields keep the architecture's own; all other sizes do.
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
        """What was named, by field."""
        return self.model_dump(exclude={"architecture"}, exclude_defaults=True)
