import pickle
import shutil

import numpy as np
import pytest
import torch

from pipeline.core.errors import ModelError, SampleError, UsageError
from pipeline.planning.recipe_files import parse
from stages.backends.outpainters.diffusion.framing import coloured
from stages.backends.registry import ModelSettings, models_of
from stages.backends.vision.sam import SamComposer, SamSegmenter
from stages.backends.vision.sam_engine import SamEngine, distinct, stability
from stages.backends.vision.sam_model import encoder_sizes
from tests import tiny_checkpoints as tiny
from tests.fakes import FakeSegmenter

HOMES = ("official", "hub")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sam")
    return {"official": tiny.sam_official(folder / "sam_vit_t.pth"), "hub": tiny.sam_hub(folder / "hub")}


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(4)
    return [rng.integers(0, 256, shape, dtype=np.uint8) for shape in ((60, 90, 3), (80, 50, 3), (40, 40, 3))]


def settings_of(role, model, **over):
    data = {"kind": "sam", "model": str(model), "device": "cpu", "batch": 2, **over}
    return getattr(ModelSettings.model_validate({role: data}), role)


@pytest.mark.parametrize("home", HOMES)
def test_both_layouts_encode_pictures_into_64_tokens(checkpoints, pictures, home):
    encoder = settings_of("encoder", checkpoints[home]).build()
    found = encoder.encode(pictures[:2])
    width = {"official": 256, "hub": 32}[home]
    for encoded in found:
        assert encoded.grid == (8, 8) and encoded.tokens.shape == (64, width) and encoded.vector.shape == (width,)
        assert np.linalg.norm(encoded.vector) == pytest.approx(1, abs=1e-5)
    assert not np.allclose(found[0].vector, found[1].vector)
    (again,) = pickle.loads(pickle.dumps(encoder)).encode(pictures[:1])
    np.testing.assert_allclose(again.vector, found[0].vector, atol=1e-5)
    assert encoder.encode([]) == []


def test_a_batch_equals_singles_and_padding_is_left_out(checkpoints, pictures):
    encoder = settings_of("encoder", checkpoints["hub"], batch=3).build()
    for image, batched in zip(pictures, encoder.encode(pictures), strict=True):
        (single,) = encoder.encode([image])
        np.testing.assert_allclose(batched.tokens, single.tokens, atol=1e-4)
    engine = SamEngine(settings_of("encoder", checkpoints["hub"]))
    wide = np.zeros((16, 128, 3), np.uint8)
    (_, tokens), features = engine.pooled([wide], 1)[0], engine._embed([wide])
    np.testing.assert_allclose(tokens[0], features[0, :, :1].mean(dim=(1, 2)).detach().numpy(), atol=1e-5)


@pytest.mark.parametrize("home", HOMES)
def test_regions_are_numbered_from_the_largest(checkpoints, pictures, home):
    loose = {"points": 2, "min_iou": -99, "min_stability": 0, "min_area": 0, "max_overlap": 1}
    composer = settings_of("composer", checkpoints[home], **loose).build()
    (labels,) = composer.regions(pictures[:1])
    assert labels.shape == (60, 90) and labels.dtype == np.int32 and labels.max() >= 1 and labels.min() >= 0
    assert np.array_equal(labels, composer.regions(pictures[:1])[0])
    (none,) = settings_of("composer", checkpoints[home], points=2, min_iou=99).build().regions(pictures[:1])
    assert (none == 0).all() and composer.regions([]) == []


def test_masks_that_are_nearly_the_same_are_one():
    masks = np.zeros((3, 20, 20), bool)
    masks[0, 2:10, 2:10] = masks[1, 2:11, 2:10] = masks[2, 12:18, 12:18] = True
    assert distinct(masks, np.array([0.8, 0.9, 0.7], np.float32), 0.7) == [1, 2]
    assert distinct(masks[:0], np.empty(0, np.float32), 0.7) == []


def test_a_sharp_mask_is_stable_and_a_soft_one_is_not():
    sharp = torch.where(torch.arange(10) < 5, 10.0, -10.0).expand(1, 10, 10)
    soft = torch.linspace(-2, 2, 10).expand(1, 10, 10)
    assert float(stability(sharp)[0]) == 1 and float(stability(soft)[0]) < 0.6


@pytest.mark.parametrize("home", HOMES)
def test_the_segmenter_gives_a_mask_of_the_pictures_size(checkpoints, pictures, home):
    segmenter = SamSegmenter(settings_of("segmenter", checkpoints[home]), FakeSegmenter())
    masks = segmenter.segment(pictures)
    assert [m.shape for m in masks] == [p.shape[:2] for p in pictures]
    assert all(m.dtype == np.float32 and 0 <= m.min() <= m.max() <= 1 for m in masks)
    engine_mask = segmenter._loaded().mask_in(pictures[0], (30, 20, 60, 40))
    assert engine_mask.shape == (60, 90) and len(np.unique(engine_mask)) > 10
    assert segmenter.digest != SamComposer(settings_of("composer", checkpoints[home])).digest


def test_where_sam_disagrees_the_finders_mask_stays(checkpoints, pictures):
    class Loose:
        def mask_in(self, image, box):
            return np.ones(image.shape[:2], np.float32)

    segmenter = SamSegmenter(settings_of("segmenter", checkpoints["hub"]), FakeSegmenter())
    segmenter._engine = Loose()
    (mask,) = segmenter.segment(pictures[:1])
    assert np.array_equal(mask, FakeSegmenter().segment(pictures[:1])[0])


def test_out_of_memory_halves_the_batch(checkpoints, pictures):
    engine = SamEngine(settings_of("encoder", checkpoints["hub"], batch=3))
    embed, seen = engine._model.embed, []

    def crowded(pixels):
        seen.append(len(pixels))
        if len(pixels) > room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return embed(pixels)

    engine._model.embed, room = crowded, 1
    assert len(engine.pooled(pictures, 8)) == 3 and seen == [3, 1, 2, 1, 1]
    room = 0
    with pytest.raises(SampleError, match="no memory"):
        engine.regions(pictures[0], settings_of("composer", checkpoints["hub"], points=2))


def test_sizes_of_official_checkpoints_come_from_their_weights(checkpoints):
    state = torch.load(checkpoints["official"], weights_only=True)
    assert encoder_sizes(state, "x") == (32, 2, 2, [1])


def refuses(model, match):
    with pytest.raises(ModelError, match=match):
        settings_of("encoder", model).build().encode([np.zeros((8, 8, 3), np.uint8)])


class Evil:
    def __reduce__(self):
        return (print, ("this must never run",))


def test_bad_checkpoints_are_model_errors(checkpoints, tmp_path, capsys):
    official = checkpoints["official"]
    refuses(tmp_path / "none.pth", "there is no file")
    (tmp_path / "cut.pth").write_bytes(official.read_bytes()[:-1000])
    refuses(tmp_path / "cut.pth", "does not load")
    state = torch.load(official, weights_only=True)
    torch.save({**state, "evil": Evil()}, tmp_path / "evil.pth")
    refuses(tmp_path / "evil.pth", "more than weights")
    assert "never run" not in capsys.readouterr().out
    torch.save({"weight": torch.ones(3)}, tmp_path / "other.pth")
    refuses(tmp_path / "other.pth", "no official SAM checkpoint")
    state.pop("mask_decoder.iou_token.weight")
    torch.save(state, tmp_path / "lacking.pth")
    refuses(tmp_path / "lacking.pth", "does not load")
    hub = shutil.copytree(checkpoints["hub"], tmp_path / "hub")
    weights = hub / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    refuses(hub, "does not load")
    (hub / "config.json").write_text('{"model_type": "bert"}')
    refuses(hub, "of the type 'bert'")


def test_a_controlnet_needs_a_composer():
    with pytest.raises(UsageError, match="name a composer"):
        parse(ModelSettings, {"outpainter": {"kind": "controlnet-inpaint"}}, "x")
    chosen = {"outpainter": {"kind": "controlnet-inpaint"}, "composer": {"kind": "sam"}}
    assert models_of(ModelSettings.model_validate(chosen)).composer.name == "sam"
    assert models_of(ModelSettings()).composer is None


def test_regions_have_colours_of_their_own():
    colours = coloured(np.arange(60, dtype=np.int32).reshape(6, 10))
    assert len(np.unique(colours.reshape(-1, 3), axis=0)) == 60 and (colours[0, 0] == 0).all()
