import pickle
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pipeline.core.errors import ModelError, SampleError, UsageError
from stages.backends.encoders.hub_engine import HubEncoderEngine
from stages.backends.registry import ModelSettings
from tests import tiny_checkpoints as tiny

KINDS = ("dinov2", "clip")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoders")
    return {"dinov2": tiny.dinov2(folder / "dinov2"), "clip": tiny.clip_vision(folder / "clip")}


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(4)
    return [rng.integers(0, 256, shape, dtype=np.uint8) for shape in ((60, 90, 3), (80, 50, 3), (40, 40, 3))]


def settings_of(kind, model, **over):
    data = {"kind": kind, "model": str(model), "device": "cpu", "batch": 2, "grid": 2, **over}
    return ModelSettings.model_validate({"encoder": data}).encoder


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [0, 48])
def test_hub_layouts_give_vectors_and_token_grids(checkpoints, pictures, kind, size):
    encoder = settings_of(kind, checkpoints[kind], size=size).build()
    found = encoder.encode(pictures)
    assert all(e.vector.shape == (16,) and e.tokens.shape == (4, 16) and e.grid == (2, 2) for e in found)
    assert all(np.linalg.norm(e.vector) == pytest.approx(1, abs=1e-5) for e in found)
    again = pickle.loads(pickle.dumps(encoder)).encode(pictures)
    assert all(np.array_equal(a.tokens, b.tokens) for a, b in zip(found, again, strict=True))
    assert encoder.encode([]) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_equals_singles_and_the_grid_keeps_its_order(checkpoints, pictures, kind):
    encoder = settings_of(kind, checkpoints[kind], batch=3).build()
    for image, batched in zip(pictures, encoder.encode(pictures), strict=True):
        (single,) = encoder.encode([image])
        np.testing.assert_allclose(batched.vector, single.vector, atol=1e-5)
    fine = settings_of(kind, checkpoints[kind], grid=4).build().encode(pictures[:1])[0].tokens.reshape(4, 4, 16)
    coarse = encoder.encode(pictures[:1])[0].tokens.reshape(2, 2, 16)
    np.testing.assert_allclose(coarse[0, 1], fine[:2, 2:].mean(axis=(0, 1)), atol=1e-5)


def test_out_of_memory_halves_the_batch(checkpoints, pictures):
    engine = HubEncoderEngine(settings_of("dinov2", checkpoints["dinov2"], batch=3))
    model, seen = engine._model, []

    class Crowded:
        config = model.config

        def __call__(self, pixel_values):
            seen.append(len(pixel_values))
            if len(pixel_values) > room:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return model(pixel_values=pixel_values)

    engine._model, room = Crowded(), 1
    assert len(engine.encode(pictures)) == 3 and seen == [3, 1, 2, 1, 1]
    room = 0
    with pytest.raises(SampleError, match="no memory"):
        engine.encode(pictures[:1])


def refuses(kind, model, match):
    with pytest.raises(ModelError, match=match):
        settings_of(kind, model).build().encode([np.zeros((8, 8, 3), np.uint8)])


class Evil:
    def __reduce__(self):
        return (print, ("this must never run",))


@pytest.mark.parametrize("kind", KINDS)
def test_bad_checkpoints_are_model_errors(checkpoints, tmp_path, kind):
    other = next(name for name in KINDS if name != kind)
    refuses(kind, checkpoints[other], "of the type")
    refuses(kind, "nobody/nothing", "hf download")
    copy = shutil.copytree(checkpoints[kind], tmp_path / "model")
    weights = copy / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-100])
    refuses(kind, copy, "does not load")
    weights.write_bytes(whole)
    tensors = load_file(weights)
    weights.unlink()
    refuses(kind, copy, "does not load")
    torch.save({**tensors, "evil": Evil()}, copy / "pytorch_model.bin")
    refuses(kind, copy, "does not load")
    dropped = next(name for name in tensors if name.endswith("fc1.weight") and "text" not in name)
    torch.save({k: v for k, v in tensors.items() if k != dropped}, copy / "pytorch_model.bin")
    refuses(kind, copy, "lacks 1 weights")


def test_a_size_that_patches_do_not_divide_is_refused(checkpoints):
    with pytest.raises(UsageError, match="multiple of 8"):
        settings_of("dinov2", checkpoints["dinov2"], size=50).build().encode([np.zeros((8, 8, 3), np.uint8)])


def test_the_digest_follows_weights_and_settings(checkpoints):
    model = checkpoints["clip"]
    before = settings_of("clip", model).build().digest
    assert settings_of("clip", model, device="cuda:0").build().digest == before
    assert settings_of("clip", model, size=48).build().digest != before
