"""The published fusion layer, for comparison: an MLP over the token axis (METHOD 4).

The tokens of k references are joined to the image's along the token axis, and each channel is mixed by the same two linear
layers over that axis. So k, the tokens a reference and the canvas are fixed, and positions are lost. Unstated, and so
ours: the projection and norm of the reference tokens (those of ``Fusion``, so that a comparison is about the mixing
alone), as many hidden units as image tokens, and the sum with the image tokens.
"""

import torch
from torch import Tensor, nn

from pipeline.core.errors import ModelError
from procrop_model.network.fusion import References, Text


class TokenMlp(nn.Module):
    """N image tokens and k references of T tokens to N tokens. Missing references are zeros, as padding of the image is."""

    def __init__(self, dim: int, reference_dim: int, *, k: int, count: int, image_tokens: int) -> None:
        super().__init__()
        self.k = k
        self.count = count
        self.image_tokens = image_tokens
        self.project = nn.Sequential(nn.LayerNorm(reference_dim), nn.Linear(reference_dim, dim), nn.LayerNorm(dim))
        self.mix = nn.Sequential(
            nn.Linear(image_tokens + k * count, image_tokens), nn.ReLU(), nn.Linear(image_tokens, image_tokens)
        )

    def forward(
        self, tokens: Tensor, positions: Tensor, valid: Tensor, references: References | None, text: Text | None = None
    ) -> Tensor:
        """Image tokens [B, N, D], their positions (not used) and bool mask [B, N]; up to k references a sample, or None.

        Gives [B, N, D]. Raises ModelError for another canvas, more references, other tokens a reference, or a caption.
        """
        if tokens.shape[1] != self.image_tokens:
            raise ModelError(f"{_FIXED}: it was built for {self.image_tokens} image tokens and got {tokens.shape[1]}")
        if text is not None:
            raise ModelError(f"{_FIXED}: it takes no caption")
        masked = tokens * valid[..., None]
        mixed = torch.cat([masked, self._slots(references, masked)], 1)  # [B, N + K T, D]
        return tokens + self.mix(mixed.transpose(1, 2)).transpose(1, 2)  # type: ignore[no-any-return]

    def _slots(self, references: References | None, like: Tensor) -> Tensor:
        """Tokens of k references [B, k T, D], zero where there is none."""
        batch, _, dim = like.shape
        if references is None or references.tokens.shape[1] == 0:
            return like.new_zeros(batch, self.k * self.count, dim)
        slots, count = references.tokens.shape[1:3]
        if slots > self.k or count != self.count:
            raise ModelError(f"{_FIXED}: k {self.k} of {self.count} tokens, and it got {slots} of {count}")
        content = self.project(references.tokens.to(like.dtype))  # [B, K, T, D]
        present = references.present[:, :, None, None].expand_as(content)
        filled = torch.where(present, content, content.new_zeros(())).flatten(1, 2)
        return torch.cat([filled, filled.new_zeros(batch, (self.k - slots) * self.count, dim)], 1)


_FIXED = "fusion 'token_mlp' mixes a fixed number of tokens (train with fusion=attention for any k and canvas)"
