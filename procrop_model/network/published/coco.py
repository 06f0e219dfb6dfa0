"""Starts a network from Conditional DETR's COCO weights in the layout of the hub (transformers).

Names are mapped, never guessed: whatever has no counterpart is reported, on both sides. The published network takes
backbone, projection, encoder, decoder, queries and box head; its class head (80 objects there, one score here), fusion
and RoI head stay fresh. Ours takes the backbone, where that is the same timm network.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from pipeline.core.errors import ModelError
from pipeline.core.json_types import Json
from procrop_model.network.crop_network import CropNetwork
from procrop_model.network.published.network import PublishedNetwork

MODEL_TYPE = "conditional_detr"
QUERIES = "decoder.embeddings"

# Theirs to ours, first match wins. A layer's attention has two spellings: that of the hub's files, and that of
# transformers 5 in memory, which some files have too.
_BACKBONE = (r"model\.backbone\.(?:conv_encoder\.)?model\.", "extractor.backbone.net.")
_RULES = [
    (re.compile(f"^{theirs}"), ours)
    for theirs, ours in (
        _BACKBONE,
        (r"model\.input_projection\.", "extractor.neck.project."),
        (r"model\.query_position_embeddings\.weight$", QUERIES),
        (r"model\.encoder\.layers\.(\d+)\.self_attn\.", r"encoder.layers.\1."),
        (r"model\.encoder\.layers\.(\d+)\.self_attn_layer_norm\.", r"encoder.layers.\1.norm."),
        (r"model\.(encoder|decoder)\.layers\.(\d+)\.(?:mlp\.)?fc1\.", r"\1.layers.\2.feed.grow."),
        (r"model\.(encoder|decoder)\.layers\.(\d+)\.(?:mlp\.)?fc2\.", r"\1.layers.\2.feed.shrink."),
        (r"model\.(encoder|decoder)\.layers\.(\d+)\.final_layer_norm\.", r"\1.layers.\2.feed.norm."),
        (r"model\.decoder\.layers\.(\d+)\.(?:self_attn\.|sa_)", r"decoder.layers.\1.self_attention."),
        (r"model\.decoder\.layers\.(\d+)\.(?:encoder_attn\.|ca_)", r"decoder.layers.\1.cross_attention."),
        (r"model\.decoder\.layers\.(\d+)\.self_attn_layer_norm\.", r"decoder.layers.\1.self_norm."),
        (r"model\.decoder\.layers\.(\d+)\.encoder_attn_layer_norm\.", r"decoder.layers.\1.cross_norm."),
        (r"model\.decoder\.layernorm\.", "decoder.norm."),
        (r"model\.decoder\.ref_point_head\.layers\.0\.", "decoder.point.0."),
        (r"model\.decoder\.ref_point_head\.layers\.1\.", "decoder.point.2."),
        (r"model\.decoder\.query_scale\.layers\.0\.", "decoder.scale.0."),
        (r"model\.decoder\.query_scale\.layers\.1\.", "decoder.scale.2."),
        (r"bbox_predictor\.layers\.0\.", "decoder.box_head.0."),
        (r"bbox_predictor\.layers\.1\.", "decoder.box_head.2."),
        (r"bbox_predictor\.layers\.2\.", "decoder.box_head.4."),
    )
]
_PROJECTIONS = {
    "q_proj": "query", "k_proj": "key", "v_proj": "value", "out_proj": "out", "o_proj": "out",
    "qcontent_proj": "query_content", "q_content_proj": "query_content", "qpos_proj": "query_place",
    "q_pos_proj": "query_place", "kcontent_proj": "key_content", "k_content_proj": "key_content",
    "kpos_proj": "key_place", "k_pos_proj": "key_place", "qpos_sine_proj": "query_sine", "q_pos_sine_proj": "query_sine",
}  # fmt: skip


@dataclass(frozen=True)
class LoadReport:
    """What a checkpoint gave. loaded, fresh: names in our network that have its values, and that keep their own.

    unused: names in the checkpoint that nothing was made of. cut: ours of which the checkpoint has more rows; the first
    were taken (queries are an unordered set). Counters of batch norms count as no weights.
    """

    loaded: tuple[str, ...]
    fresh: tuple[str, ...]
    unused: tuple[str, ...]
    cut: tuple[str, ...]

    def text(self) -> str:
        """A line a list, names shortened to their parts."""
        lines = [f"loaded {len(self.loaded)} tensors"]
        for title, names in (("fresh", self.fresh), ("unused", self.unused), ("cut", self.cut)):
            if names:
                lines.append(f"{title} {len(names)}: {', '.join(names)}")
        return "\n".join(lines)


def load_conditional_detr(network: CropNetwork, folder: Path | str) -> LoadReport:
    """Copies what fits from a checkpoint folder (``config.json``, ``model.safetensors``) into a network.

    Raises ModelError when the folder holds no Conditional DETR, when nothing of it fits, or when a mapped tensor has
    another shape.
    """
    home = Path(folder)
    _check_type(home)
    mapped, unused = _mapped(_tensors(home), isinstance(network, PublishedNetwork))
    state = {name: value for name, value in network.state_dict().items() if not _counts(name)}
    unused += [theirs for name, (theirs, _) in mapped.items() if name not in state]
    fitting = {name: value for name, (_, value) in mapped.items() if name in state}
    if not fitting:
        raise ModelError(f"nothing in {home} fits this network: its backbone and architecture are others")
    cut = [name for name in fitting if name == QUERIES and len(fitting[name]) > len(state[name])]
    taken = {name: value[: len(state[name])] if name in cut else value for name, value in fitting.items()}
    for name, value in taken.items():
        if value.shape != state[name].shape:
            raise ModelError(
                f"{mapped[name][0]} in {home} is {list(value.shape)}, and this network's {name} is "
                f"{list(state[name].shape)}: give the model the checkpoint's sizes"
            )
    with torch.no_grad():
        for name, value in taken.items():
            state[name].copy_(value)
    fresh = [name for name in state if name not in taken]
    return LoadReport(tuple(sorted(taken)), tuple(fresh), tuple(sorted(unused)), tuple(cut))


def start_from(network: CropNetwork, folder: str, out_dir: Path) -> None:
    """Starts a training run's network from a checkpoint folder, if one is named; ``init.txt`` lists what was taken."""
    if folder:
        report = load_conditional_detr(network, folder)
        out_dir.mkdir(parents=True, exist_ok=True)
        (out_dir / "init.txt").write_text(report.text() + "\n", "utf-8")


def our_name(theirs: str) -> str | None:
    """The name in the published network of a tensor in the hub's layout; None when it has no counterpart."""
    for pattern, ours in _RULES:
        match = pattern.match(theirs)
        if match is not None:
            name = match.expand(ours) + theirs[match.end() :]
            parts = [_PROJECTIONS.get(part, part) for part in name.split(".")]
            return ".".join(parts)
    return None


def _mapped(tensors: dict[str, Tensor], published: bool) -> tuple[dict[str, tuple[str, Tensor]], list[str]]:
    """Our name to their name and tensor, and their names without one."""
    mapped: dict[str, tuple[str, Tensor]] = {}
    unused = []
    for theirs, value in tensors.items():
        name = our_name(theirs)
        if name is None or not (published or name.startswith(_BACKBONE[1])):
            unused.append(theirs)
        else:
            mapped[name] = (theirs, value)
    return mapped, unused


def _tensors(home: Path) -> dict[str, Tensor]:
    try:
        return {name: value for name, value in load_file(str(home / "model.safetensors")).items() if not _counts(name)}
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"no readable model.safetensors in {home}: give the folder of a downloaded checkpoint ({error})"
        ) from error


def _check_type(home: Path) -> None:
    try:
        about: Json = json.loads((home / "config.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"no readable config.json in {home}: give the folder of a checkpoint ({error})") from error
    kind = about.get("model_type") if isinstance(about, dict) else None
    if kind != MODEL_TYPE:
        raise ModelError(f"{home} holds a model of type '{kind}', not '{MODEL_TYPE}'")


def _counts(name: str) -> bool:
    return name.endswith("num_batches_tracked")
