"""The network's promises: shapes, masks, batches, any k, gradients."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.core.errors import ModelError
from procrop_model.model_folder.build_network import build_network
from procrop_model.network.backbone import Features, pad_maps
from procrop_model.network.boxes import cxcywh_to_xyxy
from procrop_model.network.config import CropperConfig
from procrop_model.network.crop_network import CropNetwork, Output
from procrop_model.network.fusion import References
from procrop_model.network.lite0 import Lite0Encoder
from procrop_model.network.preprocess import prepare

CLOSE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(scope="module")
def network(tiny: CropperConfig) -> CropNetwork:
    torch.manual_seed(0)
    return build_network(tiny).eval()


def references(batch: int, k: int, seed: int = 0) -> References:
    g = torch.Generator().manual_seed(seed)
    tokens = torch.randn(batch, k, 4, 320, generator=g)
    return References(tokens, torch.rand(batch, k, generator=g), torch.ones(batch, k, dtype=torch.bool))


def image(height: int, width: int, seed: int) -> Tensor:
    return torch.randn(3, height, width, generator=torch.Generator().manual_seed(seed))


def assert_sample(batched: Output, row: int, single: Output) -> None:
    torch.testing.assert_close(batched.boxes[:, row], single.boxes[:, 0], **CLOSE)
    torch.testing.assert_close(batched.logits[:, row], single.logits[:, 0], **CLOSE)


def test_documented_shapes(network: CropNetwork, tiny: CropperConfig) -> None:
    features = network.extract([image(64, 96, 0), image(96, 64, 1)])
    assert features.grid.shape == (2, tiny.dim, 6, 6)
    assert features.valid.sum((1, 2)).tolist() == [24, 24]
    torch.testing.assert_close(features.pooled.norm(dim=1), torch.ones(2))
    output = network(features, torch.tensor([1.5, 0.66]), references(2, 3))
    assert output.boxes.shape == (tiny.decoder_layers, 2, tiny.queries, 4)
    assert output.boxes.min() >= 0
    assert output.boxes.max() <= 1
    assert output.logits.shape == (tiny.decoder_layers, 2, tiny.queries)
    assert output.inside.shape == (2, 6, 6)
    boxes = cxcywh_to_xyxy(torch.full((2, 7, 4), 0.4))
    assert network.score(output, boxes, torch.ones(2)).shape == (2, 7)


def test_batched_equals_single_whatever_the_padding(network: CropNetwork) -> None:
    images = [image(64, 96, 0), image(96, 64, 1), image(32, 96, 2)]
    aspects = torch.tensor([1.5, 0.67, 3.0])
    given = references(3, 3)
    batched = network(network.extract(images), aspects, given)
    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.1, 0.2, 0.7, 0.9], [0.5, 0.5, 1.0, 1.0]]).expand(3, -1, -1)
    scored = network.score(batched, boxes, aspects)
    for row, single_image in enumerate(images):
        own = References(given.tokens[row : row + 1], given.similarity[row : row + 1], given.present[row : row + 1])
        single = network(network.extract([single_image]), aspects[row : row + 1], own)
        assert_sample(batched, row, single)
        alone = network.score(single, boxes[:1], aspects[row : row + 1])
        torch.testing.assert_close(scored[row], alone[0], **CLOSE)


def test_what_lies_in_the_padding_never_matters(network: CropNetwork) -> None:
    small = network.extract([image(64, 64, 0)])
    wide, valid = pad_maps([small.grid[0], torch.zeros(small.grid.shape[1], 6, 7)])
    noise = torch.where(valid[:1, None], wide[:1], torch.full_like(wide[:1], 1e4))
    aspects = torch.ones(1)
    clean = network(small, aspects)
    padded = network(Features(noise, valid[:1], small.pooled), aspects)
    assert_sample(padded, 0, clean)
    boxes = torch.tensor([[[0.3, 0.3, 1.0, 1.0]]])
    torch.testing.assert_close(network.score(padded, boxes, aspects), network.score(clean, boxes, aspects), **CLOSE)


def test_k_is_free_and_zero_is_exactly_the_plain_model(network: CropNetwork) -> None:
    features, aspects = network.extract([image(64, 64, 0)]), torch.ones(1)
    plain = network(features, aspects)
    given = references(1, 4)
    absent = References(given.tokens, given.similarity, torch.zeros(1, 4, dtype=torch.bool))
    torch.testing.assert_close(network(features, aspects, absent).boxes, plain.boxes, rtol=0, atol=0)
    torch.testing.assert_close(network(features, aspects, references(1, 0)).boxes, plain.boxes, rtol=0, atol=0)
    for k in (1, 2, 20):
        assert not torch.equal(network(features, aspects, references(1, k)).logits, plain.logits)


def test_absent_references_do_not_matter(network: CropNetwork) -> None:
    features, aspects = network.extract([image(64, 64, 0)]), torch.ones(1)
    two = references(1, 2)
    tokens = torch.cat([two.tokens, torch.full((1, 3, 4, 320), 50.0)], 1)
    present = torch.tensor([[True, True, False, False, False]])
    masked = References(tokens, torch.cat([two.similarity, torch.ones(1, 3)], 1), present)
    torch.testing.assert_close(
        network(features, aspects, masked).logits, network(features, aspects, two).logits, **CLOSE
    )


def test_rank_and_similarity_are_seen(tiny: CropperConfig) -> None:
    torch.manual_seed(0)
    network = build_network(replace(tiny, matching=False)).eval()  # random tokens match nothing
    features, aspects = network.extract([image(64, 64, 0)]), torch.ones(1)
    given = references(1, 2)
    swapped = References(given.tokens.flip(1), given.similarity, given.present)
    other = References(given.tokens, given.similarity - 0.5, given.present)
    first = network(features, aspects, given).logits
    assert not torch.allclose(network(features, aspects, swapped).logits, first)
    assert not torch.allclose(network(features, aspects, other).logits, first)


def test_a_reference_is_matched_with_similar_encoder_features(network: CropNetwork) -> None:
    features, aspects = network.extract([image(64, 64, 0)]), torch.ones(1)
    own = features.own
    assert own is not None
    torch.testing.assert_close(own.norm(dim=2), torch.ones(1, 16))
    present, similarity = torch.ones(1, 1, dtype=torch.bool), torch.ones(1, 1)
    alike = References(3 * own[:, [0, 3, 12, 15]][:, None], similarity, present, own)
    other = References(references(1, 1).tokens, similarity, present, own)
    matching = network.fusion.matching
    bias, null, told = matching(own, features.valid.flatten(1), alike.tokens, present)
    assert bias.argmax(-1)[0, 0, [0, 3, 12, 15]].tolist() == [0, 1, 2, 3]
    assert (bias[0, :, [0, 3, 12, 15]].amax(-1) > null[:, None]).all()
    assert told.shape == (1, 16, network.fusion.dim)
    plain = network(features, aspects).logits
    changes = [(network(features, aspects, given).logits - plain).abs().max() for given in (alike, other)]
    assert changes[0] > changes[1]  # what nothing is like leaves the plain model nearly as it was


def test_gradients_reach_every_trainable_parameter(tiny: CropperConfig) -> None:
    torch.manual_seed(0)
    network = build_network(tiny).train()
    output = network(network.extract([image(64, 64, i) for i in range(2)]), torch.tensor([1.5, 0.7]), references(2, 3))
    boxes = torch.tensor([[0.1, 0.2, 0.8, 0.9]]).expand(2, 1, 4)
    scores = network.score(output, boxes, torch.ones(2))
    parts = [output.boxes, output.logits, output.inside, scores]
    sum((part * torch.randn_like(part)).sum() for part in parts).backward()  # type: ignore[union-attr]
    without = [
        name for name, p in network.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())
    ]
    assert [name for name in without if not name.startswith("fusion.rank")] == []
    assert network.fusion.rank.weight.grad[:3].any(1).all()


def test_the_backbone_is_frozen_and_stays_in_eval_mode(tiny: CropperConfig) -> None:
    network = build_network(tiny).train()
    assert not any(p.requires_grad for p in network.extractor.backbone.parameters())
    assert not any(module.training for module in network.extractor.backbone.modules())


def test_one_pass_serves_retrieval_too(tiny: CropperConfig, network: CropNetwork) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (50, 80, 3), np.uint8)
    vector, _ = Lite0Encoder(tiny.input_side).features([picture])
    pooled = network.extract([prepare(picture, tiny)]).pooled
    torch.testing.assert_close(pooled, vector, **CLOSE)


def test_other_backbones_by_timm_name(tiny: CropperConfig) -> None:
    config = replace(tiny, backbone="mobilenetv3_small_050", train_backbone=True, input_mode="fit")
    network = build_network(config)
    assert network.extract([image(64, 96, 0)]).grid.shape == (1, 32, 4, 6)
    with pytest.raises(ModelError, match="no network 'nonesuch'"):
        build_network(replace(config, backbone="nonesuch"))
