import json
import pickle

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, UNet2DModel
from safetensors.torch import load_file, save_file

from pipeline.core.errors import ModelError
from stages.backends.base.protocols import PaintRequest
from stages.backends.outpainters.small_diffusion.backend import SmallDiffusionSettings, SmallOutpainter
from stages.backends.outpainters.small_diffusion.network import LARGEST, build_scheduler, build_unet
from stages.backends.outpainters.small_diffusion.pipeline import SmallInpaintPipeline
from stages.backends.registry import ModelSettings

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


def save(folder):
    """A model of random weights, in the layout that training writes."""
    torch.manual_seed(0)
    SmallInpaintPipeline(build_unet(16, 8), build_scheduler()).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save(tmp_path_factory.mktemp("small") / "model")


def painter(folder, **settings):
    return SmallDiffusionSettings(
        kind="small-diffusion", model=str(folder), num_inference_steps=3, device="cpu", **settings
    ).build()


def request(seed, size=(60, 40), box=(10, 6, 40, 30)):
    rng = np.random.default_rng(seed)
    photo = np.kron(rng.integers(0, 256, (6, 10, 3)), np.ones((4, 3, 1))).astype(np.uint8)
    return PaintRequest(photo, None, box, size, seed)


REQUESTS = [request(1), request(2, (40, 60)), request(3), request(4, (60, 42), (0, 0, 30, 24))]


def test_canvases_are_of_the_size_asked_and_keep_the_photo(model):
    for asked, canvas in zip(REQUESTS, painter(model).paint(REQUESTS), strict=True):
        x1, y1, x2, y2 = asked.box_px
        assert canvas.shape == (asked.size[1], asked.size[0], 3) and canvas.dtype == np.uint8
        assert np.array_equal(canvas[y1:y2, x1:x2], asked.photo)
    assert painter(model).paint([]) == []


@pytest.mark.parametrize("detail", ["none", "patch"])
def test_a_canvas_depends_on_its_seed_and_not_on_the_batch(model, detail):
    first, again = painter(model, detail=detail), painter(model, detail=detail, batch=1)
    together = first.paint(REQUESTS)
    assert all(np.array_equal(a, b) for a, b in zip(together, first.paint(REQUESTS), strict=True))
    alone = [again.paint([asked])[0] for asked in REQUESTS]
    gaps = [np.abs(a.astype(int) - b).max() for a, b in zip(together, alone, strict=True)]
    assert max(gaps) <= 2
    other = first.paint([PaintRequest(REQUESTS[0].photo, None, REQUESTS[0].box_px, REQUESTS[0].size, 99)])[0]
    assert np.abs(together[0].astype(int) - other).mean() > 2


def test_patches_begin_from_the_models_canvas(model):
    """The patch diffusion's own canvas, the model's, and the patches' on top of the model's are three things."""
    plain = painter(model).paint(REQUESTS[:1])[0]
    detailed = painter(model, detail="patch").paint(REQUESTS[:1])[0]
    own = ModelSettings().outpainter.build().paint(REQUESTS[:1])[0]
    assert not np.array_equal(plain, detailed) and not np.array_equal(own, detailed)


def test_known_pixels_are_kept_at_every_step(model):
    """With a network that is right about everything hidden the canvas is the truth."""
    truth = torch.rand(2, 3, 16, 16) * 2 - 1
    mask = torch.zeros(2, 1, 16, 16)
    mask[:, :, 4:12, 6:16] = 1
    seen = []

    class Right(torch.nn.Module):
        def forward(self, stacked, times):
            noisy, scheduler = stacked[:, :3], build_scheduler()
            seen.append((scheduler, noisy, times))
            alpha = scheduler.alphas_cumprod[times][:, None, None, None].sqrt()
            sigma = (1 - alpha**2).sqrt().clamp_min(1e-4)
            noise = (noisy - alpha * truth) / sigma
            return type("Output", (), {"sample": alpha * noise - sigma * truth})

    pipe = SmallInpaintPipeline(Right(), build_scheduler())
    generators = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    canvas = pipe(torch.where(mask > 0, truth, 0.0), mask, generators, num_inference_steps=5)
    assert torch.allclose(canvas, truth, atol=1e-3)
    assert len(seen) == 5
    noise = torch.stack([torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2)])
    for scheduler, noisy, times in seen:
        expected = scheduler.add_noise(truth, noise, times)
        assert torch.allclose(noisy * mask, expected * mask, atol=1e-5)


def test_public_classes_read_the_layout(model):
    assert json.loads((model / "model_index.json").read_text())["unet"] == ["diffusers", "UNet2DModel"]
    unet = UNet2DModel.from_pretrained(model / "unet")
    scheduler = DDIMScheduler.from_pretrained(model / "scheduler")
    assert unet.config.in_channels == 7 and scheduler.config.prediction_type == "v_prediction"


def test_the_widest_model_is_within_forty_megabytes():
    assert 4 * sum(p.numel() for p in build_unet(64, LARGEST).parameters()) < 40e6
    assert 4 * sum(p.numel() for p in build_unet(64, LARGEST + 8).parameters()) > 40e6


def test_the_digest_follows_weights_and_settings_not_the_path(model, tmp_path):
    copy = save(tmp_path / "copy")
    (copy / "README.md").write_text("a card")
    (copy / "report.json").write_text("{}")
    assert painter(copy).digest == painter(model).digest == painter(model, licence="CC0-1.0").digest
    assert len({painter(model).digest, painter(model, batch=2).digest, painter(model, detail="patch").digest}) == 3
    path = copy / WEIGHTS
    path.write_bytes(path.read_bytes()[:-4] + b"\x01\x02\x03\x04")
    assert painter(copy).digest != painter(model).digest


def test_it_is_picklable_after_use_and_named_by_its_kind(model):
    used = painter(model)
    canvas = used.paint(REQUESTS[:1])[0]
    assert np.array_equal(pickle.loads(pickle.dumps(used)).paint(REQUESTS[:1])[0], canvas)
    named = ModelSettings(outpainter={"kind": "small-diffusion", "model": str(model)}).outpainter.build()
    assert isinstance(named, SmallOutpainter) and named.name == "small-diffusion"


def edit(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def lose(path, name):
    tensors = load_file(path)
    del tensors[name]
    save_file(tensors, path)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda f: (f / WEIGHTS).write_bytes((f / WEIGHTS).read_bytes()[:5000]), "cut or damaged"),
        (lambda f: (f / WEIGHTS).unlink(), "does not load"),
        (lambda f: (f / "model_index.json").unlink(), "has no model_index.json"),
        (lambda f: edit(f / "model_index.json", _class_name="FluxFillPipeline"), "is a FluxFillPipeline, not a model"),
        (lambda f: edit(f / "unet" / "config.json", in_channels=9), "takes 9 channels, not 7"),
        (lambda f: edit(f / "unet" / "config.json", block_out_channels=[16, 16, 24]), "does not load"),
        (lambda f: edit(f / "unet" / "config.json", layers_per_block=3), "does not load"),
        (lambda f: lose(f / WEIGHTS, "conv_in.bias"), r"Missing key.*conv_in\.bias"),
        (lambda f: (f / "scheduler" / "scheduler_config.json").write_text("{"), "scheduler"),
    ],
)
def test_a_bad_checkpoint_is_told_in_one_line(tmp_path, damage, words):
    folder = save(tmp_path / "model")
    damage(folder)
    with pytest.raises(ModelError, match=words) as told:
        painter(folder).paint(REQUESTS[:1])
    assert "\n" not in str(told.value)


def test_a_missing_folder_or_device_is_a_model_error(model, tmp_path):
    with pytest.raises(ModelError, match="no model at"):
        _ = painter(tmp_path / "nowhere").digest
    settings = SmallDiffusionSettings(kind="small-diffusion", model=str(model), device="cuda:77")
    with pytest.raises(ModelError, match="'cuda:77' is not there"):
        settings.build().paint(REQUESTS[:1])
