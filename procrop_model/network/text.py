"""Captions as tokens for the fusion, without any model: hashed words.

A word's token is a fixed sparse vector: the word and its trigrams each add +1 or -1 at places that a hash picks, so that
words that share a stem are alike (feature hashing, Weinberger et al., 2009; sub-words as in Bojanowski et al., 2017).
What the words mean is learned by the fusion's projection. It stands in for a real text encoder, so that captions can be
switched on anywhere; another one is any object with ``dim`` and ``encode``.
"""

import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from procrop_model.network.fusion import Text

WORDS = 32  # of a caption that are read


class TextEncoder(Protocol):
    """Turns a caption into tokens of ``dim`` channels."""

    dim: int

    def encode(self, caption: str) -> Tensor:
        """[T, dim]; T is 0 for an empty caption."""


class HashedWords:
    """The embedded text encoder: a token a word, the first ``WORDS`` of them, in lower case and without punctuation."""

    def __init__(self, dim: int) -> None:
        self.dim = dim

    def encode(self, caption: str) -> Tensor:
        """[T, dim], each row of length 1."""
        words = re.findall(r"\w+", caption.lower())[:WORDS]
        return torch.stack([_word(word, self.dim) for word in words]) if words else torch.zeros(0, self.dim)


def embedded_text(dim: int) -> TextEncoder | None:
    """The embedded encoder of a model that reads captions of ``dim`` channels; None for 0."""
    return HashedWords(dim) if dim else None


def pad_texts(tokens: Sequence[Tensor]) -> Text:
    """Tokens [T_b, C] of each caption, padded to the longest, one slot at least."""
    longest = max(1, *(len(rows) for rows in tokens))
    counts = torch.tensor([len(rows) for rows in tokens])
    filler = tokens[0].new_zeros(longest, tokens[0].shape[1])  # one more row, so that padding reaches ``longest``
    padded = pad_sequence([*tokens, filler], batch_first=True)[:-1]
    return Text(padded, torch.arange(longest)[None] < counts[:, None])


@lru_cache(maxsize=65_536)
def _word(word: str, dim: int) -> Tensor:
    token = torch.zeros(dim)
    marked = f"<{word}>"
    for part in (marked, *(marked[i : i + 3] for i in range(len(marked) - 2))):
        digest = hashlib.sha256(part.encode()).digest()
        token[int.from_bytes(digest[:8]) % dim] += 1.0 if digest[8] & 1 else -1.0
    return torch.nn.functional.normalize(token, dim=0)
