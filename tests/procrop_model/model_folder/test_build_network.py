"""What every network promises, whichever its fusion, backbone, text and architecture: shapes, batches, masks, gradients."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pipeline.core.errors import ModelError
from procrop_model.model_folder.build_network import build_network
from procrop_model.network.backbone import Features, pad_maps
from procrop_model.network.boxes import cxcywh_to_xyxy
from procrop_model.network.config import CropperConfig, published_config
from procrop_model.network.crop_network import CropNetwork, Output
from procrop_model.network.fusion import References, Text
from procrop_model.network.text import HashedWords, pad_texts

TEXT = 24
PROCROP = CropperConfig(
    input_side=64, input_mode="fit", dim=32, heads=2, encoder_layers=1, decoder_layers=2, queries=5, feedforward=32,
    roi_cells=3, k=2, reference_dim=16, reference_tokens=4, dropout=0.0,
)  # fmt: skip
PUBLISHED = replace(
    published_config(), backbone="resnet18", input_side=64, dim=32, heads=2, encoder_layers=1, decoder_layers=2,
    queries=5, feedforward=32, roi_cells=3, k=2, reference_dim=16, reference_tokens=4, dropout=0.0,
)  # fmt: skip
CONFIGS = {
    "attention": PROCROP,
    "token_mlp": replace(PROCROP, fusion="token_mlp"),
    "none": replace(PROCROP, fusion="none"),
    "text": replace(PROCROP, text_dim=TEXT),
    "resnet": replace(PROCROP, backbone="resnet10t", train_backbone=True),
    "resnet and text": replace(PROCROP, backbone="resnet10t", train_backbone=True, text_dim=TEXT),
    "resnet and token_mlp": replace(PROCROP, backbone="resnet10t", train_backbone=True, fusion="token_mlp"),
    "published": PUBLISHED,
    "published without fusion": replace(PUBLISHED, fusion="none"),
    "published with attention and text": replace(PUBLISHED, fusion="attention", text_dim=TEXT),
}
# What one step cannot reach: ranks beyond the references shown.
BEYOND = "fusion.rank.weight"
# As published, the queries' content is zero before the first layer, so what multiplies it there never learns.
ZERO_CONTENT = [f"decoder.layers.0.self_attention.{name}.weight" for name in ("query_content", "key_content", "value")]


@pytest.fixture(scope="module", params=CONFIGS)
def config(request: pytest.FixtureRequest) -> CropperConfig:
    return CONFIGS[request.param]


@pytest.fixture(scope="module")
def network(config: CropperConfig) -> CropNetwork:
    torch.manual_seed(0)
    network = build_network(config)
    for module in network.modules():  # a fresh batch norm of a ResNet's last layer may hide its branch behind a zero
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.data.fill_(1.0)
    return network.eval()


def image(height: int, width: int, seed: int) -> Tensor:
    return torch.randn(3, height, width, generator=torch.Generator().manual_seed(seed))


def references(batch: int, k: int = 2) -> References:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(batch, k, 4, 16, generator=generator)
    return References(tokens, torch.rand(batch, k, generator=generator), torch.ones(batch, k, dtype=torch.bool))


def captions(config: CropperConfig, *texts: str) -> Text | None:
    return pad_texts([HashedWords(TEXT).encode(text) for text in texts]) if config.text_dim else None


def row_of(text: Text | None, row: int) -> Text | None:
    if text is None:
        return None
    count = int(text.present[row].sum())
    return Text(text.tokens[row : row + 1, :count], text.present[row : row + 1, :count])


def assert_row(batched: Output, row: int, single: Output) -> None:
    torch.testing.assert_close(batched.boxes[:, row], single.boxes[:, 0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(batched.logits[:, row], single.logits[:, 0], rtol=1e-4, atol=1e-4)


def test_shapes(config: CropperConfig, network: CropNetwork) -> None:
    features = network.extract([image(64, 32, 0), image(32, 64, 1)])
    assert features.grid.shape[:2] == (2, config.dim)
    text = captions(config, "a red house", "")
    output = network(features, torch.tensor([0.5, 2.0]), references(2), text)
    assert output.boxes.shape == (2, 2, 5, 4)
    assert output.logits.shape == (2, 2, 5)
    assert ((output.boxes >= 0) & (output.boxes <= 1)).all()
    assert network.score(output, cxcywh_to_xyxy(torch.full((2, 7, 4), 0.4)), torch.ones(2)).shape == (2, 7)
    assert (output.vote is None) == (config.architecture == "published")


def test_batched_equals_single(config: CropperConfig, network: CropNetwork) -> None:
    images = [image(64, 32, 0), image(32, 64, 1), image(32, 32, 2)]
    aspects, given = torch.tensor([0.5, 2.0, 1.0]), references(3)
    text = captions(config, "a red house by the sea", "", "hills")
    batched = network(network.extract(images), aspects, given, text)
    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.5, 0.4, 1.0, 0.9]]).expand(3, -1, -1)
    scored = network.score(batched, boxes, aspects)
    for row, picture in enumerate(images):
        own = References(given.tokens[row : row + 1], given.similarity[row : row + 1], given.present[row : row + 1])
        single = network(network.extract([picture]), aspects[row : row + 1], own, row_of(text, row))
        assert_row(batched, row, single)
        alone = network.score(single, boxes[:1], aspects[row : row + 1])
        torch.testing.assert_close(scored[row], alone[0], rtol=1e-4, atol=1e-4)


def test_padding_never_matters(config: CropperConfig, network: CropNetwork) -> None:
    """Neither what lies in the padding of the image, nor in absent references, nor behind a caption's end."""
    features, aspects, given = network.extract([image(32, 64, 0)]), torch.ones(1), references(1)
    text = captions(config, "a red house")
    clean = network(features, aspects, given, text)
    side = config.input_side // (32 if config.architecture == "published" else 16)
    grid, valid = pad_maps([features.grid[0][:, features.valid[0].any(1)][:, :, features.valid[0].any(0)]], side)
    noisy = Features(torch.where(valid[:, None], grid, torch.tensor(1e3)), valid, features.pooled)
    absent = References(
        torch.cat([given.tokens[:, :1], torch.full_like(given.tokens[:, :1], 50.0)], 1),
        given.similarity,
        torch.tensor([[True, False]]),
    )
    one = References(given.tokens[:, :1], given.similarity[:, :1], given.present[:, :1])
    assert_row(network(noisy, aspects, given, text), 0, clean)
    assert_row(network(features, aspects, absent, text), 0, network(features, aspects, one, text))
    if text is not None:
        longer = Text(
            torch.cat([text.tokens, torch.full((1, 2, TEXT), 9.0)], 1), torch.tensor([[True, True, True, False, False]])
        )
        assert_row(network(features, aspects, given, longer), 0, clean)


def test_gradients_reach_every_parameter(config: CropperConfig) -> None:
    torch.manual_seed(0)
    network = build_network(config).train()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.data.fill_(1.0)
    features = network.extract([image(64, 64, seed) for seed in range(2)])
    output = network(features, torch.tensor([1.5, 0.7]), references(2), captions(config, "a red house", "hills"))
    parts = [
        output.boxes,
        output.logits,
        network.score(output, torch.tensor([[[0.1, 0.2, 0.8, 0.9]]] * 2), torch.ones(2)),
    ]
    parts += [output.inside] if output.inside is not None else []
    torch.stack([(part * torch.randn_like(part)).sum() for part in parts]).sum().backward()
    learning = {name: p for name, p in network.named_parameters() if p.requires_grad}
    without = [name for name, p in learning.items() if p.grad is None or not p.grad.any()]
    assert without == (ZERO_CONTENT if config.architecture == "published" else [])
    if BEYOND in learning:
        assert learning[BEYOND].grad[:2].any(1).all()


@pytest.mark.parametrize("name", ["attention", "token_mlp", "published", "published with attention and text"])
def test_references_are_seen(name: str) -> None:
    torch.manual_seed(0)
    network = build_network(CONFIGS[name]).eval()
    features, given = network.extract([image(64, 64, 0)]), references(1)
    other = References(given.tokens.flip(1), given.similarity, given.present)
    first = network(features, torch.ones(1), given).logits
    assert not torch.allclose(network(features, torch.ones(1), other).logits, first)
    assert not torch.allclose(network(features, torch.ones(1)).logits, first)


def test_captions_are_seen_and_may_come_without_references() -> None:
    torch.manual_seed(0)
    network = build_network(CONFIGS["text"]).eval()
    features, aspects = network.extract([image(64, 64, 0)]), torch.ones(1)
    plain = network(features, aspects).logits
    assert torch.equal(network(features, aspects, text=captions(CONFIGS["text"], "")).logits, plain)
    told = network(features, aspects, text=captions(CONFIGS["text"], "a red house")).logits
    assert not torch.allclose(told, plain)
    both = network(features, aspects, references(1), captions(CONFIGS["text"], "a red house")).logits
    assert not torch.allclose(both, told)


def test_token_mlp_has_a_fixed_k_and_canvas() -> None:
    network = build_network(CONFIGS["token_mlp"]).eval()
    features = network.extract([image(64, 64, 0)])
    none = References(torch.zeros(1, 2, 4, 16), torch.zeros(1, 2), torch.zeros(1, 2, dtype=torch.bool))
    plain = network(features, torch.ones(1)).boxes
    assert torch.equal(network(features, torch.ones(1), none).boxes, plain)  # missing references are zeros
    assert torch.equal(network(features, torch.ones(1), references(1, 0)).boxes, plain)
    with pytest.raises(ModelError, match="k 2 of 4 tokens, and it got 3 of 4"):
        network(features, torch.ones(1), references(1, 3))
    small = Features(features.grid[..., :2], features.valid[..., :2], features.pooled)
    with pytest.raises(ModelError, match="built for 16 image tokens and got 8"):
        network(small, torch.ones(1), references(1))
    with pytest.raises(ModelError, match="4 x 4 cells, and an image has 6 x 2"):
        network.extract([image(96, 32, 0)])


def test_no_fusion_ignores_references() -> None:
    network = build_network(CONFIGS["none"]).eval()
    features = network.extract([image(64, 64, 0)])
    assert torch.equal(network(features, torch.ones(1), references(1)).boxes, network(features, torch.ones(1)).boxes)


def test_a_caption_needs_a_model_with_text() -> None:
    network = build_network(CONFIGS["attention"]).eval()
    with pytest.raises(ModelError, match="text_dim"):
        network(network.extract([image(64, 64, 0)]), torch.ones(1), text=captions(CONFIGS["text"], "a house"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fusion": "sum"}, "fusion 'sum'"),
        ({"architecture": "vit"}, "architecture 'vit'"),
        ({"fusion": "token_mlp", "text_dim": 8}, "needs fusion 'attention'"),
        ({"fusion": "token_mlp", "k": 0}, "fixed k"),
    ],
)
def test_sizes_that_do_not_go_together_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        replace(PROCROP, **change)


def test_a_config_of_before_still_reads() -> None:
    before = {name: value for name, value in CropperConfig().to_json().items() if name not in NEW}
    assert CropperConfig.from_json(before) == CropperConfig()
    assert CropperConfig.from_json(published_config().to_json()) == published_config()


NEW = ("architecture", "fusion", "reference_tokens", "text_dim")


@pytest.mark.parametrize(
    "name", ["resnet10t", "convnext_atto", "mobilenetv3_small_050", "mobilenetv4_conv_small_035", "fastvit_t8"]
)
def test_backbones_by_timm_name(name: str) -> None:
    network = build_network(replace(PROCROP, backbone=name, train_backbone=True)).train()
    features = network.extract([image(64, 32, 0), image(32, 64, 1)])
    assert features.grid.shape == (2, 32, 4, 4)
    assert features.valid.sum((1, 2)).tolist() == [8, 8]
    features.grid.square().sum().backward()
    learning = [p for p in network.extractor.backbone.parameters() if p.requires_grad]
    assert learning
    assert not any(module.training for module in network.extractor.backbone.modules())


def test_hashed_words() -> None:
    words = HashedWords(64)
    assert words.encode("").shape == (0, 64)
    first, second = words.encode("A Red, house!"), words.encode("a red house")
    assert torch.equal(first, second)
    torch.testing.assert_close(first.norm(dim=1), torch.ones(3))
    (house, houses, lake) = words.encode("house houses lake")
    assert house @ houses > 0.4 > abs(house @ lake)
    assert len(words.encode("word " * 100)) == 32
    text = pad_texts([words.encode("two words"), words.encode("")])
    assert text.tokens.shape == (2, 2, 64)
    assert text.present.tolist() == [[True, True], [False, False]]
    empty = pad_texts([words.encode("")])
    assert empty.tokens.shape == (1, 1, 64)
    assert not empty.present.any()
