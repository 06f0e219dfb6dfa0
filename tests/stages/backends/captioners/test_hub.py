import pickle
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pipeline.core.errors import ModelError, SampleError
from stages.backends.captioners.hub import filled
from stages.backends.captioners.hub_engine import CaptionEngine
from stages.backends.registry import ModelSettings
from tests import tiny_checkpoints as tiny

KINDS = ("blip", "blip2", "florence")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    return {kind: getattr(tiny, kind)(tmp_path_factory.mktemp(kind)) for kind in KINDS}


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(1)
    return [rng.integers(0, 256, shape, dtype=np.uint8) for shape in ((40, 60, 3), (50, 30, 3), (32, 32, 3))]


def settings_of(kind, model, **over):
    data = {"kind": kind, "model": str(model), "dtype": "float32", "device": "cpu", "batch": 2, "max_new_tokens": 6}
    return ModelSettings.model_validate({"captioner": {**data, **over}}).captioner


@pytest.mark.parametrize("kind", KINDS)
def test_a_hub_checkpoint_gives_two_prompts_a_photo(checkpoints, pictures, kind):
    captioner = settings_of(kind, checkpoints[kind], inside="{caption}|{title}").build()
    prompts = captioner.caption(pictures, ["one", "two", "{caption}"])
    assert [p.inside.split("|")[1] for p in prompts] == ["one", "two", "{caption}"]
    assert all(p.beyond.startswith("the surroundings of") and "collage" in p.negative for p in prompts)
    again = pickle.loads(pickle.dumps(captioner)).caption(pictures, ["one", "two", "{caption}"])
    assert prompts == again and captioner.caption([], []) == []


@pytest.mark.parametrize(("kind", "ask"), [("blip", "a"), ("blip2", "a b"), ("florence", "<CAPTION>")])
def test_a_question_of_its_own_is_asked_about_what_lies_beyond(checkpoints, pictures, kind, ask):
    captioner = settings_of(kind, checkpoints[kind], ask_beyond=ask, beyond="{caption}").build()
    (prompt,) = captioner.caption(pictures[:1], [""])
    engine = CaptionEngine(settings_of(kind, checkpoints[kind]))
    assert prompt.beyond == engine.captions(pictures[:1], ask)[0] != ""
    assert ask not in prompt.beyond[: len(ask)]


class Crowded:
    """A model whose device has memory for one picture."""

    def __init__(self, model):
        self.model, self.seen = model, []

    def generate(self, **given):
        self.seen.append(len(given["pixel_values"]))
        if self.seen[-1] > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.model.generate(**given)


def test_out_of_memory_halves_the_batch(checkpoints, pictures):
    engine = CaptionEngine(settings_of("blip", checkpoints["blip"], batch=3))
    engine._model = Crowded(engine._model)
    assert len(engine.captions(pictures, "")) == 3
    assert engine._model.seen == [3, 1, 2, 1, 1]
    engine._model.generate = lambda **given: (_ for _ in ()).throw(torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(SampleError, match="no memory"):
        engine.captions(pictures[:1], "")


def test_the_digest_follows_weights_and_questions(checkpoints, tmp_path):
    model = shutil.copytree(checkpoints["blip"], tmp_path / "model")
    before = settings_of("blip", model).build().digest
    assert settings_of("blip", model, device="cuda:7").build().digest == before
    assert settings_of("blip", model, ask="a photo of").build().digest != before
    (model / "vocab.txt").write_text("changed")
    assert settings_of("blip", model).build().digest != before


def refuses(model, match, kind="blip"):
    with pytest.raises(ModelError, match=match):
        settings_of(kind, model).build().caption([np.zeros((32, 32, 3), np.uint8)], [""])


def test_bad_checkpoints_are_model_errors(checkpoints, tmp_path):
    refuses(checkpoints["blip"], "of the type 'blip'", "florence")
    model = shutil.copytree(checkpoints["blip"], tmp_path / "model")
    weights = model / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-100])
    refuses(model, "does not load")
    weights.write_bytes(whole)
    tensors = load_file(weights)
    weights.unlink()
    refuses(model, "does not load")
    torch.save({**tensors, "evil": Evil()}, model / "pytorch_model.bin")
    refuses(model, "does not load")
    torch.save(
        {k: v for k, v in tensors.items() if "visual" not in k and "vision" not in k}, model / "pytorch_model.bin"
    )
    refuses(model, "lacks")
    torch.save(tensors, model / "pytorch_model.bin")
    assert settings_of("blip", model).build().caption([np.zeros((32, 32, 3), np.uint8)], [""])
    (model / "config.json").unlink()
    refuses(model, r"no config\.json")


class Evil:
    def __reduce__(self):
        return (print, ("this must never run",))


def test_braces_in_answers_are_harmless():
    assert filled("{caption} and {title}", "a {title} {x}", "T") == "a {title} {x} and T"
