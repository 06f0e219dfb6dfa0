"""The network of a cropper in torch."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from pipeline.core.processor import device_for
from procrop_model.inference.engine import DecodedBatch, Floats, ImageFeatures, Inputs
from procrop_model.model_folder.save_load import SavedModel, load_model
from procrop_model.network.backbone import Features
from procrop_model.network.boxes import cxcywh_to_xyxy
from procrop_model.network.config import CropperConfig
from procrop_model.network.crop_network import CropNetwork, Output
from procrop_model.network.fold_batchnorm import fold_batchnorms
from procrop_model.network.fusion import Fusion, References, Text
from procrop_model.network.preprocess import prepare
from procrop_model.network.resize import Pixels
from procrop_model.network.text import embedded_text, pad_texts

FusionInputs = tuple[torch.Tensor, torch.Tensor, torch.Tensor, References, Text | None]  # of ``Fusion.forward``


class TorchEngine:
    """An ``Engine`` that can also explain.

    Args:
        network: switched to eval mode and moved to ``device``.
        config: its sizes.
        device: torch device.

    Raises ModelError for a device that is not there.
    """

    def __init__(self, network: CropNetwork, config: CropperConfig, device: str = "cpu") -> None:
        if device != "mps":  # which torch itself checks
            device_for(device, torch.cuda.device_count())
        self.network = network.eval().to(device)
        self.parameters = sum(weight.numel() for weight in network.parameters())
        self.config = config
        self.device = torch.device(device)
        self._words = embedded_text(config.text_dim)

    @torch.no_grad()
    def features(self, images: Sequence[Pixels]) -> ImageFeatures:
        """As ``Engine.features``."""
        held = self.network.extract([prepare(image, self.config).to(self.device) for image in images])
        return ImageFeatures(np.asarray(held.pooled.cpu().numpy(), np.float32), held)

    @torch.no_grad()
    def crops(self, inputs: Inputs) -> DecodedBatch:
        """As ``Engine.crops``."""
        return self.decoded(self.network(*self._tensors(inputs)))

    def decoded(self, output: Output) -> DecodedBatch:
        """An output of the network for the predictor."""
        return DecodedBatch(cxcywh_to_xyxy(output.boxes[-1]).clamp(0, 1).cpu().numpy(), output)

    @torch.no_grad()
    def judge(self, decoded: DecodedBatch, boxes: Floats, aspects: Floats) -> Floats:
        """As ``Engine.judge``."""
        given = (torch.tensor(array, device=self.device) for array in (boxes, aspects))
        logits: Floats = self.network.judge(decoded.held, *given).float().cpu().numpy()
        return logits

    @torch.no_grad()
    def attention(self, inputs: Inputs, image: int) -> Floats:
        """As ``Engine.attention``, mean over the heads."""
        features = inputs.features.held
        valid = features.valid[image]
        height, width = int(valid.any(1).sum()), int(valid.any(0).sum())
        fusion = getattr(self.network, "fusion", None)
        if not isinstance(fusion, Fusion) or inputs.references.tokens.shape[1] == 0:
            return np.zeros((height, width, 0, 0), np.float32)
        calls: list[FusionInputs] = []
        hook = fusion.register_forward_pre_hook(lambda _, given: calls.append(given))
        try:
            self.network(*self._tensors(inputs))
        finally:
            hook.remove()
        weights = fusion.weights(*calls[0])[image]  # [N, K, T]
        grid = weights.reshape(*features.grid.shape[-2:], *weights.shape[1:])
        found: Floats = grid[:height, :width].cpu().numpy()
        return found

    def _tensors(self, inputs: Inputs) -> tuple[object, torch.Tensor, References, Text | None]:
        aspects = torch.tensor(inputs.aspects, device=self.device)
        references = References.of(*inputs.references).to(self.device)
        return inputs.features.held, aspects, references, self._text(inputs.prompts)

    def _text(self, prompts: Sequence[str] | None) -> Text | None:
        if prompts is None or self._words is None:
            return None
        return pad_texts([self._words.encode(prompt) for prompt in prompts]).to(self.device)


def attention_of(folder: Path, inputs: Inputs, image: int) -> Floats:
    """``Engine.attention`` of inputs of an ``OnnxEngine``. folder: of the same model."""
    held = {name: torch.from_numpy(array) for name, array in inputs.features.held.items()}
    grid = held["grid"]
    valid = torch.ones(len(grid), *grid.shape[2:], dtype=torch.bool)
    features = Features(grid, valid, torch.from_numpy(inputs.features.vectors), held.get("own"))
    given = replace(inputs, features=ImageFeatures(inputs.features.vectors, features))
    return _engine_of(folder).attention(given, image)


@lru_cache(maxsize=1)
def _engine_of(folder: Path) -> TorchEngine:
    return torch_engine(load_model(folder), "cpu", "fp32")


def torch_engine(saved: SavedModel, device: str, precision: str) -> TorchEngine:
    """The engine of a loaded model folder, with its batch norms folded. precision: of the backbone, fp32 or bf16."""
    saved.network.reduced = precision == "bf16"
    fold_batchnorms(saved.network.extractor.backbone)
    return TorchEngine(saved.network, saved.config, device)
