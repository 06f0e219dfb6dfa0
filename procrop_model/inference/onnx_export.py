"""The cropper as ONNX graphs: one of the whole, for other programs, and the three parts that ``Cropper.load`` runs.

Live retrieval stays outside the graphs, in numpy and faiss: ``features.onnx`` gives the vector to search with.
"""

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.core.errors import ModelError, UsageError
from pipeline.core.replace_file import replacing
from pipeline.core.resources import file_digest
from procrop_model.inference.onnx_engine import FORMAT, VERSION
from procrop_model.model_folder.save_load import SavedModel
from procrop_model.network.backbone import Features
from procrop_model.network.boxes import cxcywh_to_xyxy
from procrop_model.network.config import ATTENTION, SQUARE
from procrop_model.network.crop_network import CropNetwork
from procrop_model.network.fusion import References
from procrop_model.network.reference_matching import own_cells

OPSET = 18
BATCH, SLOTS, BOXES = "batch", "references", "boxes"
NORMALISED = {"lite0": {"mean": [127.0] * 3, "scale": [128.0] * 3}}
IMAGENET = {"mean": [123.675, 116.28, 103.53], "scale": [58.395, 57.12, 57.375]}
Progress = Callable[[int, int, str], None]


class FeaturesGraph(nn.Module):
    """images [B, 3, S, S] -> grid [B, D, H, W], retrieval vector [B, C], L2-normalised, and, for a fusion that matches, the
    image's own tokens [B, H W, C].
    """

    def __init__(self, network: CropNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """images [B, 3, S, S] -> grid, vector and, for a fusion with matching, own."""
        maps = self.network.extractor.backbone(images)
        vector = nn.functional.normalize(maps[-1].flatten(2).mean(2), dim=1)
        grid = self.network.extractor.neck(maps)
        if not self.network.extractor.tells_own:
            return grid, vector
        return grid, vector, own_cells(maps[-1], *grid.shape[2:]).flatten(2).transpose(1, 2)


class CropsGraph(nn.Module):
    """grid [B, D, H, W], aspects [B], tokens [B, K, T, C], similarity [B, K], present bool [B, K], and own [B, H W, C] for a fusion
    that matches -> boxes [B, Q, 4] cxcywh in 0..1 and the fused grid [B, D, H, W].
    """

    def __init__(self, network: CropNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        grid: Tensor,
        aspects: Tensor,
        tokens: Tensor,
        similarity: Tensor,
        present: Tensor,
        own: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """-> boxes [B, Q, 4] cxcywh and fused grid [B, D, H, W]; the inputs are those of the class."""
        valid = torch.ones(grid.shape[0], grid.shape[2], grid.shape[3], dtype=torch.bool, device=grid.device)
        features = Features(grid, valid, grid[:, :, 0, 0], own)
        output = self.network(features, aspects, References(tokens, similarity, present))
        return output.boxes[-1], output.memory.grid


class ScoreGraph(nn.Module):
    """memory [B, D, H, W], boxes [B, N, 4] xyxy in 0..1, aspects [B] -> logits [B, N, 1 or 2]."""

    def __init__(self, network: CropNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, memory: Tensor, boxes: Tensor, aspects: Tensor) -> Tensor:
        """memory [B, D, H, W], boxes [B, R, 4], aspects [B] -> logits [B, R, 1 or 2]."""
        roi = self.network.roi
        extent = torch.tensor([[float(memory.shape[3]), float(memory.shape[2])]], device=memory.device)
        filled = roi.reduce(memory)
        return roi.score_boxes(filled, extent.expand(memory.shape[0], 2), boxes=boxes, aspects=aspects)


class WholeGraph(nn.Module):
    """images [B, 3, S, S], aspects [B], tokens [B, K, T, C], similarity [B, K] -> boxes [B, Q, 4] xyxy in 0..1 and their scores
    [B, Q] in 0..1, both as decoded: the local search that ``Cropper`` adds is a loop around ``score.onnx``.
    """

    def __init__(self, network: CropNetwork) -> None:
        super().__init__()
        self.features, self.crops, self.score = FeaturesGraph(network), CropsGraph(network), ScoreGraph(network)

    def forward(self, images: Tensor, aspects: Tensor, tokens: Tensor, similarity: Tensor) -> tuple[Tensor, Tensor]:
        """-> boxes [B, Q, 4] xyxy and scores [B, Q]; the inputs are those of the class."""
        grid, _, *own = self.features(images)
        present = torch.ones_like(similarity, dtype=torch.bool)
        boxes, memory = self.crops(grid, aspects, tokens, similarity, present, *own)
        corners = cxcywh_to_xyxy(boxes).clamp(0, 1)
        return corners, self.score(memory, corners, aspects)[..., 0].sigmoid()


@dataclass(frozen=True)
class _Graph:
    """A graph to write. inputs: name -> an example and the names of its free axes."""

    name: str
    module: nn.Module
    inputs: Mapping[str, tuple[Tensor, dict[int, str]]]
    outputs: Sequence[str]


def export_cropper(saved: SavedModel, out: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Writes ``cropper.onnx``, its three parts, ``references/`` and ``config.json``, which comes last, to a folder.

    progress(done, total, name of the graph) is called before each. Gives what ``config.json`` holds. Raises ModelError without
    the packages that the export needs, UsageError for a cropper with inputs of any shape, captions or another fusion.
    """
    if find_spec("onnxscript") is None:
        raise ModelError("the export needs the packages onnx and onnxscript: pip install 'procrop-data[export]'")
    if saved.config.input_mode != SQUARE:
        raise UsageError(
            f"a cropper with input_mode '{saved.config.input_mode}' has no fixed input; only '{SQUARE}' exports"
        )
    if saved.config.fusion != ATTENTION or saved.config.text_dim:
        raise UsageError(
            f"a cropper with fusion '{saved.config.fusion}' and text_dim {saved.config.text_dim} does not export: only "
            f"'{ATTENTION}' without captions does"
        )
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.json").unlink(missing_ok=True)
    graphs = _graphs(saved)
    for done, graph in enumerate(graphs):
        if progress is not None:
            progress(done, len(graphs), graph.name)
        _write(graph, out / f"{graph.name}.onnx")
    saved.references.save(out / "references")
    about = {
        "format": FORMAT,
        "version": VERSION,
        "opset": OPSET,
        "cropper": saved.config.to_json(),
        "pixels": {"order": "RGB, 0..255", **NORMALISED.get(saved.config.backbone, IMAGENET)},
        "graphs": {
            graph.name: {
                "inputs": list(graph.inputs),
                "outputs": list(graph.outputs),
                "digest": file_digest(str(out / f"{graph.name}.onnx")),
            }
            for graph in graphs
        },
        "trained": saved.trained,
    }
    with replacing(out / "config.json") as aside:
        aside.write_text(json.dumps(about, indent=1), "utf-8")
    return about


def _graphs(saved: SavedModel) -> list[_Graph]:
    config, network = saved.config, saved.network.cpu().eval()
    side, dim, cells, batch, k = config.input_side, config.dim, config.input_side // 16, 2, 3
    count = int(saved.references.tokens.shape[1])
    images = (torch.randn(batch, 3, side, side), {0: BATCH})
    grid = (torch.randn(batch, dim, cells, cells), {0: BATCH})
    aspects = (torch.tensor([1.5, 0.7]), {0: BATCH})
    tokens = (torch.randn(batch, k, count, config.reference_dim), {0: BATCH, 1: SLOTS})
    similarity = (torch.rand(batch, k), {0: BATCH, 1: SLOTS})
    present = (torch.ones(batch, k, dtype=torch.bool), {0: BATCH, 1: SLOTS})
    boxes = (torch.tensor([[0.1, 0.2, 0.6, 0.9]]).expand(batch, 30, 4).contiguous(), {0: BATCH, 1: BOXES})
    reference_inputs = {"tokens": tokens, "similarity": similarity}
    matched: dict[str, tuple[Tensor, dict[int, str]]] = {}
    if network.extractor.tells_own:
        own = nn.functional.normalize(torch.randn(batch, cells * cells, config.reference_dim), dim=2)
        matched = {"own": (own, {0: BATCH})}
    return [
        _Graph("features", FeaturesGraph(network), {"images": images}, ("grid", "vector", *matched)),
        _Graph(
            "crops", CropsGraph(network), {"grid": grid, "aspects": aspects, **reference_inputs, "present": present, **matched},
            ("boxes", "memory"),
        ),
        _Graph("score", ScoreGraph(network), {"memory": grid, "boxes": boxes, "aspects": aspects}, ("logits",)),
        _Graph("cropper", WholeGraph(network), {"images": images, "aspects": aspects, **reference_inputs}, ("boxes", "scores")),
    ]  # fmt: skip


def _write(graph: _Graph, path: Path) -> None:
    axes = {name: {axis: torch.export.Dim.DYNAMIC for axis in free} for name, (_, free) in graph.inputs.items()}
    with replacing(path) as aside, torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's exporter about its own insides
        torch.onnx.export(
            graph.module.eval(), tuple(example for example, _ in graph.inputs.values()), str(aside),
            input_names=list(graph.inputs), output_names=list(graph.outputs), opset_version=OPSET,
            dynamic_shapes=tuple(axes.values()), dynamo=True, external_data=False, verbose=False,
        )  # fmt: skip
