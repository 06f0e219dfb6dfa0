"""Text features by prompt, each computed once: the variants of a photo share their prompts.

Letters: T tokens, C channels, B prompts of a batch.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from stages.backends.outpainters.diffusion.pipeline_types import Pipeline, accepted_inputs

Features = Mapping[str, Tensor]
REMEMBERED = 256  # prompts, 0.3 MB each for SDXL, 4 MB for FLUX


def clip(pipe: Pipeline, prompt: str, negative: str, guided: bool) -> Features:
    """One text encoder: {prompt_embeds [1, T, C], negative_prompt_embeds}."""
    embeds, unwanted = pipe.encode_prompt(prompt, pipe._execution_device, 1, guided, negative_prompt=negative)
    return {"prompt_embeds": embeds, **({"negative_prompt_embeds": unwanted} if guided else {})}


def clip_pair(pipe: Pipeline, prompt: str, negative: str, guided: bool) -> Features:
    """Two text encoders: the sequences [1, T, C1 + C2] and the pooled features [1, C2]."""
    embeds, unwanted, pooled, unwanted_pooled = pipe.encode_prompt(
        prompt, device=pipe._execution_device, do_classifier_free_guidance=guided, negative_prompt=negative
    )
    features = {"prompt_embeds": embeds, "pooled_prompt_embeds": pooled}
    unguided = {"negative_prompt_embeds": unwanted, "negative_pooled_prompt_embeds": unwanted_pooled}
    return {**features, **unguided} if guided else features


def flux(pipe: Pipeline, prompt: str, negative: str, guided: bool) -> Features:
    """CLIP's pooled features [1, C] and T5's sequence [1, T, C]; a guidance-distilled model takes no negative prompt."""
    embeds, pooled, _ = pipe.encode_prompt(prompt, None, device=pipe._execution_device)
    return {"prompt_embeds": embeds, "pooled_prompt_embeds": pooled}


def sd3(pipe: Pipeline, prompt: str, negative: str, guided: bool) -> Features:
    """Two CLIP encoders and T5, all with one prompt: the sequences [1, T, C] and CLIP's pooled features [1, C]."""
    embeds, unwanted, pooled, unwanted_pooled = pipe.encode_prompt(
        prompt, None, None, pipe._execution_device, 1, guided, negative_prompt=negative
    )
    features = {"prompt_embeds": embeds, "pooled_prompt_embeds": pooled}
    unguided = {"negative_prompt_embeds": unwanted, "negative_pooled_prompt_embeds": unwanted_pooled}
    return {**features, **unguided} if guided else features


ENCODERS: dict[str, Callable[[Pipeline, str, str, bool], Features]] = {
    "clip": clip,
    "clip-pair": clip_pair,
    "flux": flux,
    "sd3": sd3,
}


class PromptTexts:
    """Prompts as they are, for pipelines whose features have no common size; a negative one where the pipeline takes it."""

    def __init__(self, pipe: Pipeline) -> None:
        self._takes_negative = "negative_prompt" in accepted_inputs(pipe)

    def batch(self, prompts: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
        """Call arguments for a batch of (prompt, negative prompt); new lists, which some pipelines change."""
        wanted = {"prompt": [prompt for prompt, _ in prompts]}
        return {**wanted, "negative_prompt": [negative for _, negative in prompts]} if self._takes_negative else wanted


class PromptCache:
    """Features of prompts, encoded one at a time so that they do not depend on which others share the batch."""

    def __init__(self, pipe: Pipeline, kind: str, guided: bool) -> None:
        self._pipe, self._encode, self._guided = pipe, ENCODERS[kind], guided
        self._known: OrderedDict[tuple[str, str], Features] = OrderedDict()

    def batch(self, prompts: Sequence[tuple[str, str]]) -> dict[str, Tensor]:
        """Call arguments for a batch of (prompt, negative prompt), [B, ...] each."""
        encoded = [self._one(*pair) for pair in prompts]
        return {name: torch.cat([features[name] for features in encoded]) for name in encoded[0]}

    def _one(self, prompt: str, negative: str) -> Features:
        pair = (prompt, negative)
        if pair not in self._known:
            with torch.inference_mode():
                self._known[pair] = self._encode(self._pipe, prompt, negative, self._guided)
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        self._known.move_to_end(pair)
        return self._known[pair]
