import pytest
import torch

from stages.backends.outpainters.diffusion.prompts import REMEMBERED, PromptCache


class Pipe:
    """A pipeline whose text encoder counts its calls; features [1, 2, 3] of a prompt are its length."""

    _execution_device = torch.device("cpu")

    def __init__(self, outputs):
        self.outputs, self.calls = outputs, []

    def encode_prompt(self, prompt, *others, negative_prompt="", **more):
        self.calls.append(prompt)
        texts = [prompt, negative_prompt, prompt, negative_prompt][: self.outputs]
        return tuple(torch.full((1, 2, 3), float(len(text))) for text in texts)


@pytest.mark.parametrize(
    ("kind", "outputs", "names"),
    [
        ("clip", 2, {"prompt_embeds", "negative_prompt_embeds"}),
        ("flux", 3, {"prompt_embeds", "pooled_prompt_embeds"}),
        (
            "clip-pair",
            4,
            {"prompt_embeds", "pooled_prompt_embeds", "negative_prompt_embeds", "negative_pooled_prompt_embeds"},
        ),
    ],
)
def test_each_family_gets_its_arguments(kind, outputs, names):
    features = PromptCache(Pipe(outputs), kind, guided=True).batch([("ab", "c"), ("abcd", "")])
    assert set(features) == names and all(tensor.shape == (2, 2, 3) for tensor in features.values())
    assert features["prompt_embeds"][:, 0, 0].tolist() == [2, 4]


@pytest.mark.parametrize(("kind", "outputs"), [("clip", 2), ("clip-pair", 4)])
def test_without_guidance_there_is_no_negative_prompt(kind, outputs):
    features = PromptCache(Pipe(outputs), kind, guided=False).batch([("ab", "c")])
    assert not [name for name in features if "negative" in name]


def test_a_prompt_is_encoded_once():
    pipe = Pipe(2)
    cache = PromptCache(pipe, "clip", guided=True)
    cache.batch([("a", ""), ("b", ""), ("a", "")])
    cache.batch([("b", ""), ("b", "other")])
    assert pipe.calls == ["a", "b", "b"]


def test_the_prompt_that_was_used_longest_ago_is_dropped():
    pipe = Pipe(2)
    cache = PromptCache(pipe, "clip", guided=True)
    for number in range(REMEMBERED):
        cache.batch([(str(number), "")])
    cache.batch([("0", ""), ("new", ""), ("0", ""), ("1", "")])
    assert pipe.calls[REMEMBERED:] == ["new", "1"]
