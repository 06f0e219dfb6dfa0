"""Segment Anything from official files or from transformers' folders, behind one small interface.

Kirillov et al., "Segment anything", 2023. Official files go through the package ``segment-anything``, folders in the hub's
layout through transformers.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
import transformers
from torch import Tensor

from pipeline.core.errors import ModelError
from pipeline.core.lazy_import import LazyImport
from stages.backends.base.checkpoint_files import loading, pretrained, read_config
from stages.backends.base.weight_files import read_weights

SIDE = 1024
BUILD_SAM: LazyImport[Callable[..., Any]] = LazyImport("segment_anything.build_sam:_build_sam")


class SamModel(Protocol):
    """S: the side of the square that pictures are padded to, 1024 for every published checkpoint."""

    side: int

    def embed(self, pixels: Tensor) -> Tensor:
        """[B, 3, S, S], normalised -> [B, 256, S / 16, S / 16]."""

    def masks(self, embedding: Tensor, points: Tensor | None, box: Tensor | None) -> tuple[Tensor, Tensor]:
        """Three mask logits for each of N prompts on one picture, and their estimated IoU: [N, 3, h, h], [N, 3].

        embedding: [1, 256, S / 16, S / 16]; points: [N, 2] or box: [N, 4], in pixels of the square.
        """


def load_sam(path: Path, dtype: torch.dtype, device: str) -> SamModel:
    """The model at a file or folder. Raises ModelError when it is no SAM or does not load."""
    return _Official(path, dtype, device) if path.is_file() else _Hub(path, dtype, device)


class _Hub:
    def __init__(self, folder: Path, dtype: torch.dtype, device: str) -> None:
        model_type = read_config(folder, "config.json").get("model_type")
        if model_type != "sam":
            raise ModelError(f"'{folder}' is of the type '{model_type}', not 'sam'")
        self._model = pretrained(transformers.SamModel, folder, "SAM", dtype=dtype, device=device)
        vision: Any = self._model.config.vision_config
        self.side = int(vision.image_size)

    def embed(self, pixels: Tensor) -> Tensor:
        embedding: Tensor = self._model.get_image_embeddings(pixels)
        return embedding

    def masks(self, embedding: Tensor, points: Tensor | None, box: Tensor | None) -> tuple[Tensor, Tensor]:
        prompts: dict[str, Tensor] = {}
        if points is not None:
            prompts = {"input_points": points[None, :, None]}  # [1, N, 1, 2]
            prompts["input_labels"] = torch.ones(1, len(points), 1, dtype=torch.long, device=points.device)
        elif box is not None:
            prompts = {"input_boxes": box[None]}  # [1, N, 4]
        out = self._model(image_embeddings=embedding, multimask_output=True, **prompts)
        return out.pred_masks[0], out.iou_scores[0]


class _Official:
    """The sizes of the image encoder are read from the shapes of its weights, so ViT-B, L and H need no name."""

    def __init__(self, file: Path, dtype: torch.dtype, device: str) -> None:
        state = read_weights(file)
        try:
            build = BUILD_SAM.load()
        except ImportError as error:
            raise ModelError(
                f"'{file}' is an official checkpoint, which needs the packages segment-anything and torchvision: "
                "pip install 'procrop-data[models]', or use a folder in the hub's layout"
            ) from error
        model = build(*encoder_sizes(state, str(file)))
        with loading(f"SAM in '{file}'"):
            model.load_state_dict(state)
        self._model = model.eval().to(device, dtype)
        self.side = SIDE

    def embed(self, pixels: Tensor) -> Tensor:
        embedding: Tensor = self._model.image_encoder(pixels)
        return embedding

    def masks(self, embedding: Tensor, points: Tensor | None, box: Tensor | None) -> tuple[Tensor, Tensor]:
        prompts = None if points is None else (points[:, None], torch.ones(len(points), 1, device=points.device))
        sparse, dense = self._model.prompt_encoder(points=prompts, boxes=box, masks=None)
        masks, quality = self._model.mask_decoder(
            image_embeddings=embedding, image_pe=self._model.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse.to(embedding.dtype), dense_prompt_embeddings=dense.to(embedding.dtype),
            multimask_output=True,
        )  # fmt: skip
        return masks, quality


def encoder_sizes(state: dict[str, Tensor], origin: str) -> tuple[int, int, int, list[int]]:
    """(width, depth, heads, blocks with global attention) of the image encoder that weights are of; ModelError for others'."""
    prefix = "image_encoder.blocks"
    try:
        width = state["image_encoder.patch_embed.proj.weight"].shape[0]
        depth = 1 + max(int(name.split(".")[2]) for name in state if name.startswith(f"{prefix}."))
        positions = [state[f"{prefix}.{i}.attn.rel_pos_h"].shape for i in range(depth)]  # [2 * window - 1, head width]
    except (KeyError, ValueError) as error:
        raise ModelError(f"'{origin}' is no official SAM checkpoint: it lacks {error}") from error
    return width, depth, width // positions[0][1], [i for i, shape in enumerate(positions) if shape[0] == SIDE // 8 - 1]
