"""Fusion of references: image tokens attend to the tokens of K references, and of a caption, through a gate.

The published layer mixes tokens by an MLP over the token axis, which fixes K and the image size (``token_mlp.py``); this is the
attention that the paper's figure shows. A key whose value is zero is always present, and no layer after it has a bias, so the
layer adds exactly zero without references: K = 0 is the plain model.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.core.errors import ModelError
from procrop_model.network.attention import attend
from procrop_model.network.positions import sine_of_points
from procrop_model.network.reference_matching import Matching

Attended = tuple[Tensor, Tensor, Tensor]  # values [B, M, D], keys [B, M, D], presence bool [B, M]
GATE_START = 0.2  # small, but not zero: at zero nothing behind the gate has a gradient in the first step


@dataclass(frozen=True)
class References:
    """References of a batch; K may be 0.

    Args:
        tokens: [B, K, T, C], the T tokens of a square grid, most similar reference first.
        similarity: [B, K], cosine in -1..1.
        present: bool [B, K], false for padding.
        own: [B, N, C], the retrieval encoder's L2-normalised features of each cell of the image itself, or None.
    """

    tokens: Tensor
    similarity: Tensor
    present: Tensor
    own: Tensor | None = None

    @staticmethod
    def of(tokens: NDArray[np.float32], similarity: NDArray[np.float32], present: NDArray[np.bool_]) -> "References":
        """From arrays of these shapes, which it shares."""
        return References(torch.from_numpy(tokens), torch.from_numpy(similarity), torch.from_numpy(present))

    def to(self, device: torch.device) -> "References":
        """Copies to a device."""
        own = None if self.own is None else self.own.to(device)
        return References(self.tokens.to(device), self.similarity.to(device), self.present.to(device), own)


@dataclass(frozen=True)
class Text:
    """Captions of a batch. tokens: [B, T, C], present: bool [B, T]; T may be 0."""

    tokens: Tensor
    present: Tensor

    def to(self, device: torch.device) -> "Text":
        """Copies to a device."""
        return Text(self.tokens.to(device), self.present.to(device))


class NoFusion(nn.Module):
    """The plain model: references change nothing."""

    def forward(
        self, tokens: Tensor, positions: Tensor, valid: Tensor, references: References | None, text: Text | None = None
    ) -> Tensor:
        """As ``Fusion``; gives the tokens [B, N, D] as they are."""
        return tokens


class Fusion(nn.Module):
    """Cross-attention from image tokens to reference tokens with position, rank and similarity embeddings."""

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
        """
        Args:
            dim: D.
            heads: of the attention.
            reference_dim: C of the reference tokens.
            ranks: rank embeddings; later references share the last.
            text_dim: channels of a caption's tokens; 0 for no text.
            matching: biases the attention by cosine similarity; needs ``References.own``.
        """
        super().__init__()
        self.heads = heads
        self.dim = dim
        self.project = nn.Sequential(nn.LayerNorm(reference_dim), nn.Linear(reference_dim, dim), nn.LayerNorm(dim))
        self.rank = nn.Embedding(ranks, dim)
        self.likeness = nn.Linear(1, dim)  # of the similarity; named so in saved weights
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
        """Image tokens with what the references add.

        Args:
            tokens: [B, N, D].
            positions: [B, N, D].
            valid: bool [B, N]; only matching reads it, as every token is fused independently.
            references: K per image, or None.
            text: captions, or None.

        Gives [B, N, D]. Raises ModelError for a caption when the network has no text.
        """
        attended = self._attended(references, text)
        if not attended:
            return tokens
        queries = self.to_query(self.norm(tokens) + positions)
        values, keys, present = self._with_null(attended)
        bias, matched = self._matched(valid, references, present)
        mixed = self.out(attend(queries, keys, values, self.heads, present, bias)) + matched
        return tokens + self.gate * mixed  # type: ignore[no-any-return]

    def weights(
        self, tokens: Tensor, positions: Tensor, valid: Tensor, references: References, text: Text | None = None
    ) -> Tensor:
        """The attention [B, N, K, T] of ``forward`` from image tokens to reference tokens, mean over the heads.

        The rest, up to 1, goes to the caption or to the key of zero value. The arguments are those of ``forward``.
        """
        _, keys, present = self._with_null(self._attended(references, text))
        queries = self.to_query(self.norm(tokens) + positions)
        q, k = (x.unflatten(2, (self.heads, -1)).transpose(1, 2) for x in (queries, keys))  # [B, heads, ., D / heads]
        logits = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5  # [B, heads, N, M]
        bias, _ = self._matched(valid, references, present)
        logits = logits if bias is None else logits + bias
        attention = logits.masked_fill(~present[:, None, None], -torch.inf).softmax(-1).mean(1)  # [B, N, M]
        count = references.tokens.shape[1] * references.tokens.shape[2]
        to_references: Tensor = attention[..., :count].unflatten(2, references.tokens.shape[1:3])
        return to_references

    def _attended(self, references: References | None, text: Text | None) -> list[Attended]:
        attended = [] if references is None or references.tokens.shape[1] == 0 else [self._references(references)]
        if text is not None and text.tokens.shape[1]:
            if self.text is None:
                raise ModelError("a caption was given to a cropper without text: train it with text_dim above 0")
            content = self.text(text.tokens.to(self.gate.dtype))
            attended.append((self.to_value(content), self.to_key(content), text.present))
        return attended

    def _matched(
        self, valid: Tensor, references: References | None, present: Tensor
    ) -> tuple[Tensor | None, Tensor | float]:
        """Attention bias [B, heads, N, M] over references, captions and the key of zero value; matching feature [B, N, D]."""
        if self.matching is None or references is None or references.own is None or not references.tokens.shape[1]:
            return None, 0.0
        bias, null, feature = self.matching(references.own, valid, references.tokens, references.present)
        rest = null[None, :, None, None].expand(*bias.shape[:3], present.shape[1] - bias.shape[3])
        return torch.cat([bias, rest], 3), feature

    def _references(self, references: References) -> Attended:
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

    def _with_null(self, attended: list[Attended]) -> Attended:
        """All values and keys [B, M, D] and their presence [B, M], with the key of zero value last."""
        batch = len(attended[0][0])
        values, keys, present = zip(*attended, strict=True)
        return (
            torch.cat([*values, values[0].new_zeros(batch, 1, self.dim)], 1),
            torch.cat([*keys, self.null_key.expand(batch, 1, -1)], 1),
            torch.cat([*present, present[0].new_ones(batch, 1)], 1),
        )


class CaptionTokens(nn.Module):
    """Projects the tokens of a caption to D channels and adds an embedding that distinguishes them from references."""

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
