"""The published architecture: equal to the hub's Conditional DETR where both are the same, and started from its weights."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import ConditionalDetrConfig, ConditionalDetrForObjectDetection

from pipeline.core.errors import ModelError
from procrop_model.model_folder.build_network import build_network
from procrop_model.network.config import CropperConfig, published_config
from procrop_model.network.fusion import References
from procrop_model.network.published.coco import load_conditional_detr, our_name
from procrop_model.network.published.positions import sine_of_cells

SIDE, DIM, QUERIES = 96, 32, 7
SMALL = replace(
    published_config(), backbone="resnet18", input_side=SIDE, dim=DIM, heads=2, encoder_layers=2, decoder_layers=2,
    queries=QUERIES, feedforward=48, reference_dim=16, reference_tokens=4, k=2, roi_cells=3, fusion="none",
)  # fmt: skip
CLOSE = {"rtol": 1e-3, "atol": 1e-5}


@pytest.fixture(scope="module")
def hub() -> ConditionalDetrForObjectDetection:
    torch.manual_seed(0)
    config = ConditionalDetrConfig(
        backbone="resnet18", d_model=DIM, encoder_layers=2, decoder_layers=2, encoder_ffn_dim=48, decoder_ffn_dim=48,
        encoder_attention_heads=2, decoder_attention_heads=2, num_queries=QUERIES, num_labels=3,
    )  # fmt: skip
    model = ConditionalDetrForObjectDetection(config).eval()
    for name, buffer in model.named_buffers():  # batch norms that do nothing would hide a wrong mapping
        if name.endswith(("running_mean", "running_var", "bias", "weight")):
            buffer.uniform_(0.5, 1.5)
    return model


@pytest.fixture(scope="module")
def checkpoint(hub: ConditionalDetrForObjectDetection, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("conditional-detr")
    hub.save_pretrained(home)
    return home


def pictures() -> tuple[list[Tensor], Tensor, Tensor]:
    """Two images of other shapes, and the same padded to a square with their mask, as the hub's model takes them."""
    images = [torch.randn(3, 64, 96, generator=torch.Generator().manual_seed(n)) for n in (0, 1)]
    images[1] = images[1].transpose(1, 2).contiguous()
    pixels, mask = torch.zeros(2, 3, SIDE, SIDE), torch.zeros(2, SIDE, SIDE, dtype=torch.long)
    for row, image in enumerate(images):
        pixels[row, :, : image.shape[1], : image.shape[2]] = image
        mask[row, : image.shape[1], : image.shape[2]] = 1
    return images, pixels, mask


def test_with_the_hubs_weights_it_gives_the_hubs_boxes(
    hub: ConditionalDetrForObjectDetection, checkpoint: Path
) -> None:
    network = build_network(SMALL).eval()
    load_conditional_detr(network, checkpoint)
    images, pixels, mask = pictures()
    with torch.no_grad():
        theirs = hub(pixel_values=pixels, pixel_mask=mask)
        ours = network(network.extract(images), torch.tensor([1.5, 0.67]))
    torch.testing.assert_close(ours.boxes[-1], theirs.pred_boxes, **CLOSE)


def test_every_tensor_is_accounted_for(checkpoint: Path) -> None:
    network = build_network(replace(SMALL, fusion="token_mlp"))
    told = load_conditional_detr(network, checkpoint)
    named = {name for name in network.state_dict() if not name.endswith("num_batches_tracked")}
    assert set(told.loaded) | set(told.fresh) == named
    assert not set(told.loaded) & set(told.fresh)
    assert {name.split(".")[0] for name in told.fresh} == {"fusion", "scorer", "roi"}
    assert told.unused == ("class_labels_classifier.bias", "class_labels_classifier.weight")
    assert told.cut == ()
    assert "unused 2: class_labels_classifier.bias" in told.text()
    theirs = load_file(str(checkpoint / "model.safetensors"))
    assert len(told.loaded) == len(theirs) - len(told.unused)
    state = network.state_dict()
    for name, value in theirs.items():
        if (ours := our_name(name)) is not None:
            assert torch.equal(state[ours], value)


def test_files_with_transformers_own_names_are_read_too(
    hub: ConditionalDetrForObjectDetection, checkpoint: Path, tmp_path: Path
) -> None:
    save_file(
        {name: value.contiguous() for name, value in hub.state_dict().items()}, str(tmp_path / "model.safetensors")
    )
    (tmp_path / "config.json").write_bytes((checkpoint / "config.json").read_bytes())
    first, second = build_network(SMALL), build_network(SMALL)
    told = load_conditional_detr(first, checkpoint)
    assert load_conditional_detr(second, tmp_path) == told
    state = second.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in first.state_dict().items() if name in told.loaded)


def test_fewer_queries_take_the_first_and_say_so(checkpoint: Path) -> None:
    network = build_network(replace(SMALL, queries=5))
    told = load_conditional_detr(network, checkpoint)
    assert told.cut == ("decoder.embeddings",)
    theirs = load_file(str(checkpoint / "model.safetensors"))["model.query_position_embeddings.weight"]
    assert torch.equal(network.state_dict()["decoder.embeddings"], theirs[:5])
    with pytest.raises(ModelError, match=r"query_position_embeddings.weight .* is \[7, 32\]"):
        load_conditional_detr(build_network(replace(SMALL, queries=9)), checkpoint)


def test_our_architecture_takes_the_backbone(checkpoint: Path) -> None:
    sizes = CropperConfig(backbone="resnet18", input_mode="fit", input_side=64, dim=32, heads=2, train_backbone=True)
    network = build_network(sizes)
    told = load_conditional_detr(network, checkpoint)
    assert all(name.startswith("extractor.backbone.net.") for name in told.loaded)
    assert not any(name.startswith("extractor.backbone.") for name in told.fresh)
    theirs = load_file(str(checkpoint / "model.safetensors"))["model.backbone.conv_encoder.model.layer4.1.conv2.weight"]
    assert torch.equal(network.state_dict()["extractor.backbone.net.layer4.1.conv2.weight"], theirs)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"backbone": "resnet26"}, "sizes"), ({"dim": 64}, "sizes"), ({"feedforward": 64}, "sizes")],
)
def test_other_sizes_are_refused(checkpoint: Path, change: dict[str, object], message: str) -> None:
    network = build_network(replace(SMALL, **change))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(ModelError, match=message):
        load_conditional_detr(network, checkpoint)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_what_is_no_checkpoint_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    network = build_network(SMALL)
    with pytest.raises(ModelError, match=r"config\.json"):
        load_conditional_detr(network, tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "detr"}))
    with pytest.raises(ModelError, match="type 'detr'"):
        load_conditional_detr(network, tmp_path)
    (tmp_path / "config.json").write_bytes((checkpoint / "config.json").read_bytes())
    (tmp_path / "model.safetensors").write_bytes((checkpoint / "model.safetensors").read_bytes()[:1000])
    with pytest.raises(ModelError, match=r"model\.safetensors"):
        load_conditional_detr(network, tmp_path)
    other = CropperConfig(backbone="convnext_atto", input_mode="fit", input_side=64, dim=32, heads=2)
    with pytest.raises(ModelError, match="nothing in"):
        load_conditional_detr(build_network(other), checkpoint)


def test_documented_sizes_of_the_published_network() -> None:
    config = published_config()
    assert (config.queries, config.k * config.reference_tokens, config.dim) == (90, 640, 256)
    with torch.device("meta"):
        network = build_network(config)
    assert tuple(network.fusion.mix[0].weight.shape) == (1024, 1664)
    assert len(network.encoder.layers) == len(network.decoder.layers) == 6


def test_positions_are_counted_over_the_valid_region() -> None:
    valid = torch.zeros(2, 3, 4, dtype=torch.bool)
    valid[0], valid[1, :2, :3] = True, True
    found = sine_of_cells(valid, 16)
    assert found.shape == (2, 3, 4, 16)
    small = sine_of_cells(valid[1:, :2, :3], 16)
    torch.testing.assert_close(found[1:, :2, :3], small)
    assert not torch.allclose(found[0, :2, :3], small[0])


def test_the_stem_is_fixed_and_the_rest_of_the_backbone_learns() -> None:
    network = build_network(SMALL)
    learning = {n for n, p in network.extractor.backbone.net.named_parameters() if p.requires_grad}
    assert learning
    assert all(name.startswith(("layer2", "layer3", "layer4")) for name in learning)


def test_a_larger_image_than_the_canvas_is_refused() -> None:
    with pytest.raises(ModelError, match="96 x 96 pixels, and an image has 64 x 128"):
        build_network(SMALL).extract([torch.zeros(3, 64, 128)])


def test_references_change_it() -> None:
    torch.manual_seed(0)
    network = build_network(replace(SMALL, fusion="token_mlp")).eval()
    features = network.extract(pictures()[0])
    tokens = torch.randn(2, 2, 4, 16, generator=torch.Generator().manual_seed(0))
    given = References(tokens, torch.ones(2, 2), torch.ones(2, 2, dtype=torch.bool))
    assert not torch.allclose(network(features, torch.ones(2), given).boxes, network(features, torch.ones(2)).boxes)
