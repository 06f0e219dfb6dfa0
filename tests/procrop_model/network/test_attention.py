"""Multi-head attention against a direct computation; masked keys have no influence."""

import torch

from procrop_model.network.attention import FeedForward, attend


def tensors(batch: int = 2, queries: int = 3, keys: int = 5, dim: int = 8) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(0)
    return torch.randn(batch, queries, dim), torch.randn(batch, keys, dim), torch.randn(batch, keys, 4)


def test_one_head_is_softmax_attention() -> None:
    q, k, v = tensors()
    expected = (q @ k.transpose(1, 2) / 8**0.5).softmax(-1) @ v
    torch.testing.assert_close(attend(q, k, v, heads=1), expected)


def test_heads_attend_to_their_own_channels() -> None:
    q, k, v = tensors()
    halves = [attend(q[..., i : i + 4], k[..., i : i + 4], v[..., i // 2 : i // 2 + 2], 1) for i in (0, 4)]
    result = attend(q, k, v, heads=2)
    assert result.shape == (2, 3, 4)
    torch.testing.assert_close(result, torch.cat(halves, -1))


def test_masked_keys_have_no_influence() -> None:
    q, k, v = tensors()
    valid = torch.ones(2, 5, dtype=torch.bool)
    valid[0, 3:] = False
    result = attend(q, k, v, 2, valid)
    changed = v.clone()
    changed[0, 3:] += 100
    torch.testing.assert_close(attend(q, k, changed, 2, valid), result)
    torch.testing.assert_close(result[:1], attend(q[:1], k[:1, :3], v[:1, :3], 2))


def test_bias_is_added_to_the_logits() -> None:
    q, k, v = tensors()
    bias = torch.zeros(2, 2, 3, 5)
    bias[..., 1] = 50.0
    valid = torch.ones(2, 5, dtype=torch.bool)
    for mask in (None, valid):
        result = attend(q, k, v, 2, mask, bias)
        torch.testing.assert_close(result, v[:, 1:2].expand(-1, 3, -1), atol=1e-4, rtol=1e-4)
    valid[:, 1] = False  # a masked key stays masked whatever its bias
    torch.testing.assert_close(attend(q, k, v, 2, valid, bias), attend(q, k, v, 2, valid))


def test_feed_forward_keeps_the_shape_and_adds_its_input() -> None:
    block = FeedForward(8, 16, dropout=0.0).eval()
    x = torch.randn(2, 3, 8)
    assert block(x).shape == (2, 3, 8)
    with torch.no_grad():
        for parameter in block.net.parameters():
            parameter.zero_()
    torch.testing.assert_close(block(x), x)
