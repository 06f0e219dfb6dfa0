"""Fusion of retrieved compositions: image tokens attend to the tokens of k references, and to a caption's, through a gate.

The published layer mixes tokens by an MLP over the token axis, which fixes k and the canvas (``token_mlp.py``); this is
the attention that the paper's figure shows. A key of zero value is always present and nothing has a bias after it, so that with no
reference the layer adds exactly zero: k = 0 is the plain model.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.core.errors import ModelError
from procrop_model.network.attention import attend
from procrop_model.network.positions import sine_of_points
from procrop_model.network.reference_matching import Matching

Seen = tuple[Tensor, Tensor, Tensor]  # values [B, M, D], keys [B, M, D], which are there: bool [B, M]
GATE_START = 0.2  # small, not zero: at zero nothing behind the gate would learn in the first step


@dataclass(frozen=True)
class References:
    """Retrieved compositions of a batch.

    tokens: [B, K, T, C], T tokens of a square grid, best reference first. similarity: [B, K], cosine in -1..1.
    present: bool [B, K], false for a slot that a sample does not use; K may be 0. own: [B, N, C], unit length, what the
    retrieval encoder sees in each cell of the image itself, or None where it did not look at it in the same pass.
    """

    tokens: Tensor
    similarity: Tensor
    present: Tensor
    own: Tensor | None = None

    def to(self, device: torch.device) -> "References":
        """The same on another device."""
        own = None if self.own is None else self.own.to(device)
        return References(self.tokens.to(device), self.similarity.to(device), self.present.to(device), own)


@dataclass(frozen=True)
class Text:
    """Captions of a batch. tokens: [B, T, C], present: bool [B, T]; T may be 0."""

    tokens: Tensor
    present: Tensor

    def to(self, device: torch.device) -> "Text":
        """The same on another device."""
        return Text(self.tokens.to(device), self.present.to(device))


class NoFusion(nn.Module):
    """The plain model: references change nothing."""

    def forward(
        self, tokens: Tensor, positions: Tensor, valid: Tensor, references: References | None, text: Text | None = None
    ) -> Tensor:
        """As ``Fusion``; gives the tokens [B, N, D] as they are."""
        return tokens


class Fusion(nn.Module):
    """Cross-attention from image tokens to reference tokens with position, rank and similarity embeddings.

    text_dim: channels of a caption's tokens, which join the references' under an embedding of their own; 0 for no text.
    matching: compares cells with reference tokens as the encoder does; needs ``References.own``.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        reference_dim: int,
        ranks: int,
        *,
        text_dim: int = 0,
        matching: Matching | None = None,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.dim = dim
        self.project = nn.Sequential(nn.LayerNorm(reference_dim), nn.Linear(reference_dim, dim), nn.LayerNorm(dim))
        self.rank = nn.Embedding(ranks, dim)
        self.likeness = nn.Linear(1, dim)
        self.norm = nn.LayerNorm(dim)
        self.to_query = nn.Linear(dim, dim)
        self.to_key = nn.Linear(dim, dim)
        self.to_value = nn.Linear(dim, dim, bias=False)
        self.null_key = nn.Parameter(torch.zeros(dim))
        self.out = nn.Linear(dim, dim, bias=False)
        self.gate = nn.Parameter(torch.full((dim,), GATE_START))
        nn.init.normal_(self.rank.weight, std=0.02)
        self.text = CaptionTokens(text_dim, dim) if text_dim else None
        self.matching = matching

    def forward(
        self, tokens: Tensor, positions: Tensor, valid: Tensor, references: References | None, text: Text | None = None
    ) -> Tensor:
        """Image tokens [B, N, D], their positions [B, N, D] and bool mask [B, N] (each token is fused by itself, so that
        padding cannot matter); k references a sample or None; captions or None -> [B, N, D].
        """
        seen = self._seen(references, text)
        if not seen:
            return tokens
        queries = self.to_query(self.norm(tokens) + positions)
        values, keys, present = self._with_null(seen)
        bias, told = self._matched(valid, references, present)
        mixed = self.out(attend(queries, keys, values, self.heads, present, bias)) + told
        return tokens + self.gate * mixed  # type: ignore[no-any-return]

    def weights(
        self, tokens: Tensor, positions: Tensor, valid: Tensor, references: References, text: Text | None = None
    ) -> Tensor:
        """What ``forward`` looks at: [B, N, K, T], the attention of each image token to each reference token, mean over the
        heads; what lacks to 1 went to a caption or to the key of zero value, so to nothing.
        """
        _, keys, present = self._with_null(self._seen(references, text))
        queries = self.to_query(self.norm(tokens) + positions)
        q, k = (x.unflatten(2, (self.heads, -1)).transpose(1, 2) for x in (queries, keys))  # [B, heads, ., D / heads]
        logits = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5  # [B, heads, N, M]
        bias, _ = self._matched(valid, references, present)
        logits = logits if bias is None else logits + bias
        attention = logits.masked_fill(~present[:, None, None], -torch.inf).softmax(-1).mean(1)  # [B, N, M]
        count = references.tokens.shape[1] * references.tokens.shape[2]
        looks: Tensor = attention[..., :count].unflatten(2, references.tokens.shape[1:3])
        return looks

    def _seen(self, references: References | None, text: Text | None) -> list[Seen]:
        seen = [] if references is None or references.tokens.shape[1] == 0 else [self._references(references)]
        if text is not None and text.tokens.shape[1]:
            if self.text is None:
                raise ModelError("a caption was given to a cropper without text: train it with text_dim above 0")
            content = self.text(text.tokens.to(self.gate.dtype))
            seen.append((self.to_value(content), self.to_key(content), text.present))
        return seen

    def _matched(
        self, valid: Tensor, references: References | None, present: Tensor
    ) -> tuple[Tensor | None, Tensor | float]:
        """Bias [B, heads, N, M] of the attention over references, captions and the key of zero value, and what matching tells
        each cell [B, N, D].
        """
        if self.matching is None or references is None or references.own is None or not references.tokens.shape[1]:
            return None, 0.0
        bias, null, told = self.matching(references.own, valid, references.tokens, references.present)
        rest = null[None, :, None, None].expand(*bias.shape[:3], present.shape[1] - bias.shape[3])
        return torch.cat([bias, rest], 3), told

    def _references(self, references: References) -> Seen:
        k, count = references.tokens.shape[1:3]
        content = self.project(references.tokens.to(self.gate.dtype))  # [B, K, T, D]
        ranks = torch.arange(k, device=content.device).clamp_max(self.rank.num_embeddings - 1)
        tags = self.rank(ranks)[None] + self.likeness(references.similarity.to(content.dtype)[..., None])  # [B, K, D]
        tagged = content + tags[:, :, None]
        places = _grid_positions(count, self.dim, content)  # [T, D]
        keys = self.to_key(tagged + places).flatten(1, 2)  # [B, K T, D]
        values = self.to_value(tagged)
        if self.matching is not None:
            values = values + self.matching.place(places)
        return values.flatten(1, 2), keys, references.present[:, :, None].expand(-1, -1, count).flatten(1)

    def _with_null(self, seen: list[Seen]) -> Seen:
        """All that may be looked at and the key of zero value: values and keys [B, M, D], bool [B, M]."""
        batch = len(seen[0][0])
        values, keys, present = zip(*seen, strict=True)
        return (
            torch.cat([*values, values[0].new_zeros(batch, 1, self.dim)], 1),
            torch.cat([*keys, self.null_key.expand(batch, 1, -1)], 1),
            torch.cat([*present, present[0].new_ones(batch, 1)], 1),
        )


class CaptionTokens(nn.Module):
    """Tokens of a text encoder to the fusion's channels, with an embedding that tells them from references."""

    def __init__(self, text_dim: int, dim: int) -> None:
        super().__init__()
        self.project = nn.Sequential(nn.LayerNorm(text_dim), nn.Linear(text_dim, dim), nn.LayerNorm(dim))
        self.kind = nn.Parameter(torch.randn(dim) * 0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, T, C] -> [B, T, D]."""
        return self.project(tokens) + self.kind  # type: ignore[no-any-return]


def _grid_positions(count: int, dim: int, like: Tensor) -> Tensor:
    side = round(count**0.5)
    if side * side != count:
        raise ValueError(f"reference tokens must form a square grid, got {count}")
    centres = (torch.arange(side, device=like.device, dtype=like.dtype) + 0.5) / side
    rows, columns = torch.meshgrid(centres, centres, indexing="ij")
    return sine_of_points(torch.stack([columns, rows], -1).flatten(0, 1), dim)
