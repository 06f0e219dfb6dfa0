import itertools
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from pipeline.core.errors import ModelError, SampleError
from stages.backends.base.weight_files import read_weights
from stages.backends.registry import ModelSettings
from stages.backends.scorers.aesthetic_engine import AestheticEngine, linear_chain, mean_of_distribution
from stages.backends.scorers.perceiving import score_images
from tests import tiny_checkpoints as tiny

# The files that LAION published, where the machine has them.
LAION = Path(os.environ.get("PROCROP_LAION_HEADS") or Path(__file__).parents[5] / "shared/data/laion")
KINDS = ("laion", "siglip", "nima")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """kind -> (model, head)."""
    folder = tmp_path_factory.mktemp("aesthetic")
    torch.manual_seed(3)
    mlp = {f"layers.{i}": layer for i, layer in zip((0, 2, 4), layers(16, 8, 4, 1), strict=True)}
    scoring = {f"scoring_head.{i}": layer for i, layer in zip((0, 2), layers(16, 8, 1), strict=True)}
    torch.save(named(mlp), folder / "laion.pth")
    torch.save(named(scoring), folder / "siglip.pth")
    net = timm.create_model("test_convnext", features_only=True, pretrained=False)
    width = net.feature_info.channels()[-1]
    state = {f"base_model.{name}": value for name, value in net.state_dict().items()}
    state |= named({"classifier.2": torch.nn.Linear(width, 10)})
    torch.save({"params": state}, folder / "nima.pth")
    return {
        "laion": (tiny.clip_vision(folder / "clip"), folder / "laion.pth"),
        "siglip": (tiny.siglip_vision(folder / "siglip"), folder / "siglip.pth"),
        "nima": ("test_convnext", folder / "nima.pth"),
    }


def layers(*widths):
    made = [torch.nn.Linear(a, b) for a, b in itertools.pairwise(widths)]
    torch.nn.init.constant_(made[-1].bias, 5)  # in the middle of the scale
    torch.nn.init.normal_(made[-1].weight)
    return made


def named(parts):
    return {f"{name}.{key}": value for name, part in parts.items() for key, value in part.state_dict().items()}


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(4)
    return [rng.integers(0, 256, shape, dtype=np.uint8) for shape in ((60, 90, 3), (80, 50, 3))]


BOXES = [
    np.array([[0, 0, 90, 60], [10, 5, 70, 50], [10.4, 5.4, 70.2, 50]], np.float32),
    np.array([[5, 10, 45, 70]], np.float32),
]


def settings_of(kind, pair, **over):
    data = {"kind": kind, "model": str(pair[0]), "head": str(pair[1]), "device": "cpu", "batch": 3}
    return ModelSettings.model_validate({"scorer": {**data, **over}}).scorer


@pytest.mark.parametrize("kind", KINDS)
def test_published_layouts_score_every_crop(checkpoints, pictures, kind):
    scorer = settings_of(kind, checkpoints[kind]).build()
    scores = score_images(scorer, pictures, BOXES)
    assert [s.shape for s in scores] == [(3,), (1,)] and all(s.dtype == np.float32 for s in scores)
    assert all((s >= 0).all() and (s <= 10).all() for s in scores)
    assert scores[0][1] == scores[0][2]  # the same whole pixels
    again = score_images(pickle.loads(pickle.dumps(scorer)), pictures, BOXES)
    assert all(np.array_equal(a, b) for a, b in zip(scores, again, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_batched_equals_single(checkpoints, pictures, kind):
    batched = score_images(settings_of(kind, checkpoints[kind], batch=8).build(), pictures, BOXES)
    single = settings_of(kind, checkpoints[kind], batch=1).build()
    for image, found, scores in zip(pictures, BOXES, batched, strict=True):
        for box, score in zip(found, scores, strict=True):
            np.testing.assert_allclose(score_images(single, [image], [box[None]])[0], [score], atol=2e-4)


def test_no_picture_and_no_box_give_nothing(checkpoints, pictures):
    scorer = settings_of("laion", checkpoints["laion"]).build()
    assert score_images(scorer, [], []) == []
    empty, one = score_images(scorer, pictures, [np.empty((0, 4), np.float32), BOXES[1]])
    assert empty.shape == (0,) and one.shape == (1,)


def test_a_clip_score_is_the_head_on_the_normalised_embedding(checkpoints, pictures):
    from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

    model, head = checkpoints["laion"]
    processor = CLIPImageProcessor.from_pretrained(model)
    square = np.ascontiguousarray(pictures[0][:60, :60])
    pixels = processor(square, return_tensors="pt").pixel_values
    with torch.inference_mode():
        embeds = CLIPVisionModelWithProjection.from_pretrained(model)(pixels).image_embeds
    chain = linear_chain(read_weights(head), "x")
    want = float(chain(embeds / embeds.norm(dim=-1, keepdim=True)).clamp(0, 10))
    (got,) = score_images(
        settings_of("laion", checkpoints["laion"]).build(), [square], [np.array([[0, 0, 60, 60]], np.float32)]
    )
    assert got[0] == pytest.approx(want, abs=2e-3)


def test_fit_says_what_of_a_crop_is_seen(checkpoints, pictures):
    box = [np.array([[0, 0, 90, 60]], np.float32)]
    whole = score_images(settings_of("laion", checkpoints["laion"]).build(), pictures[:1], box)
    middle = score_images(settings_of("laion", checkpoints["laion"], fit="centre").build(), pictures[:1], box)
    square = settings_of("laion", checkpoints["laion"]).build()
    same = score_images(square, pictures[:1], [np.array([[15, 0, 75, 60]], np.float32)])
    assert middle[0] == same[0] != whole[0]


def test_the_mean_of_a_distribution():
    sure = torch.full((1, 10), -100.0)
    sure[0, 6] = 100
    torch.testing.assert_close(mean_of_distribution(sure), torch.tensor([7.0]))
    torch.testing.assert_close(mean_of_distribution(torch.zeros(2, 10)), torch.full((2,), 5.5))


@pytest.mark.skipif(not LAION.is_dir(), reason="LAION's published heads are not on this machine")
@pytest.mark.parametrize(
    ("name", "widths"),
    [
        ("sac+logos+ava1-l14-linearMSE.pth", [768, 1024, 128, 64, 16, 1]),
        ("sa_0_4_vit_l_14_linear.pth", [768, 1]),
        ("sa_0_4_vit_b_32_linear.pth", [512, 1]),
    ],
)
def test_laions_own_files_load_although_a_gpu_saved_them(name, widths):
    chain = linear_chain(read_weights(LAION / name), name)
    assert [chain[0].in_features, *(layer.out_features for layer in chain)] == widths
    embedding = torch.nn.functional.normalize(torch.randn(64, widths[0], generator=torch.Generator().manual_seed(0)))
    scores = chain(embedding)[:, 0]
    assert torch.isfinite(scores).all() and 0 < scores.mean() < 10


def test_a_picture_too_many_for_the_device_halves_the_batch(checkpoints, pictures):
    engine = AestheticEngine(settings_of("laion", checkpoints["laion"], batch=4))
    judge, seen = engine._network, []

    def crowded(pixels):
        seen.append(len(pixels))
        if len(pixels) > room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return judge(pixels)

    engine._network, room = crowded, 2
    assert [len(s) for s in engine.score(pictures, BOXES)] == [3, 1] and seen == [4, 2, 2]
    room = 0
    with pytest.raises(SampleError, match="no memory"):
        engine.score(pictures[1:], BOXES[1:])


def refuses(pair, match, kind="laion"):
    with pytest.raises(ModelError, match=match):
        score_images(
            settings_of(kind, pair).build(), [np.zeros((8, 8, 3), np.uint8)], [np.array([[0, 0, 8, 8]], np.float32)]
        )


class Evil:
    def __reduce__(self):
        return (print, ("this must never run",))


def test_bad_heads_are_model_errors(checkpoints, tmp_path, capsys):
    model, head = checkpoints["laion"]
    refuses((model, tmp_path / "none.pth"), "there is no file")
    (tmp_path / "cut.pth").write_bytes(head.read_bytes()[:-200])
    refuses((model, tmp_path / "cut.pth"), "does not load")
    torch.save({"layers.0.weight": torch.ones(1, 7), "layers.0.bias": torch.ones(1)}, tmp_path / "narrow.pth")
    refuses((model, tmp_path / "narrow.pth"), "takes 7 features")
    torch.save({"norm.weight": torch.ones(7), "norm.bias": torch.ones(7)}, tmp_path / "norm.pth")
    refuses((model, tmp_path / "norm.pth"), "not linear")
    torch.save({"weight": torch.ones(1, 16), "bias": torch.ones(1), "evil": Evil()}, tmp_path / "evil.pth")
    refuses((model, tmp_path / "evil.pth"), "pickle that holds more than weights")
    assert "never run" not in capsys.readouterr().out
    refuses(("test_convnext", head), "does not fit", "nima")
    refuses(("no_such_net", checkpoints["nima"][1]), "no network", "nima")


def test_bad_networks_are_model_errors(checkpoints, tmp_path):
    model, head = checkpoints["laion"]
    copy = shutil.copytree(model, tmp_path / "model")
    weights = copy / "model.safetensors"
    tensors = load_file(weights)
    save_file({k: v for k, v in tensors.items() if "projection" not in k}, weights, {"format": "pt"})
    refuses((copy, head), "lacks 1 weights")
    weights.write_bytes(weights.read_bytes()[:-50])
    refuses((copy, head), "does not load")
    refuses((checkpoints["siglip"][0], head), "CLIP in")


def test_the_digest_follows_files_and_settings(checkpoints, tmp_path):
    model, head = checkpoints["laion"]
    before = settings_of("laion", (model, head)).build().digest
    assert settings_of("laion", (model, head), device="cuda:3").build().digest == before
    assert settings_of("laion", (model, head), fit="centre").build().digest != before
    torch.save({"weight": torch.ones(1, 16), "bias": torch.ones(1)}, tmp_path / "other.pth")
    assert settings_of("laion", (model, tmp_path / "other.pth")).build().digest != before
