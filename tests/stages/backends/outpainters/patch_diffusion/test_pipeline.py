"""Exact patch diffusion: its posterior against brute force, its promises to the stage, its behaviour at the edges."""

import math
import pickle

import numpy as np
import pytest
import torch
from diffusers import EulerDiscreteScheduler
from PIL import Image as PillowImage

from pipeline.core.resources import bundled
from stages.backends.base.protocols import PaintRequest
from stages.backends.outpainters.patch_diffusion import denoiser, matches, pyramid
from stages.backends.outpainters.patch_diffusion.backend import PatchOutpainter
from stages.backends.outpainters.patch_diffusion.membrane import Membrane
from stages.backends.outpainters.patch_diffusion.patches import PatchGrid
from stages.backends.outpainters.patch_diffusion.pipeline import PatchDiffusionPipeline, with_detail
from stages.backends.outpainters.patch_diffusion.scene import Scene
from stages.backends.outpainters.patch_diffusion.sources import collect, rarity
from stages.backends.registry import ModelSettings, models_of


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def photograph(name, size):
    with PillowImage.open(bundled("assets") / "photos" / f"{name}.jpg") as image:
        return np.asarray(image.convert("RGB").resize(size, PillowImage.Resampling.LANCZOS))


def request(photo, box, size, seed=0, subject=None):
    return PaintRequest(photo=photo, subject=subject, box_px=box, size=size, seed=seed)


def scene_of(photo, box, size):
    pixels = torch.tensor(photo).permute(2, 0, 1)[None].float() / 127.5 - 1
    return Scene(pixels, torch.zeros_like(pixels[:, :1]), box, size)


FLOWERS = ((20, 14, 62, 44), (80, 60))


def flowers(seed=0, subject=None):
    return request(photograph("flowers", (42, 30)), *FLOWERS, seed=seed, subject=subject)


# ---- the denoiser


def toy(even):
    generator = torch.Generator().manual_seed(3)
    patches = torch.rand(12, 3, 9, generator=generator) * 2 - 1
    values = torch.rand(5, 3, 9, generator=generator) * 2 - 1
    weight = torch.full((5, 9), 7.0) if even else torch.rand(5, 9, generator=generator) * 20 + 1
    return denoiser.Queries(values, weight, torch.zeros(5, 2)), patches


def brute_force(queries, patches, shift):
    """Posterior means by Gaussian density with the full covariance of noise and offset, one source at a time."""
    out = []
    for value, weight in zip(queries.values.double(), queries.weight.double(), strict=True):
        covariance = torch.diag(1 / weight) + shift**2
        gain = shift**2 * torch.ones_like(covariance) @ torch.linalg.inv(covariance)
        scores, means = [], []
        for source in patches.double():
            gap = value - source  # [3, P]
            scores.append(-0.5 * (gap @ torch.linalg.inv(covariance) * gap).sum())
            means.append(source + gap @ gain.T)
        share = torch.stack(scores).softmax(0)
        out.append((share[:, None, None] * torch.stack(means)).sum(0))
    return torch.stack(out).float()


@pytest.mark.parametrize("shift", [0.05, 0.6])
@pytest.mark.parametrize("even", [True, False])
def test_posterior_mean_equals_brute_force(even, shift):
    queries, patches = toy(even)
    truth = brute_force(queries, patches, shift)
    everyone = patches[None].expand(5, -1, -1, -1)
    logits = [denoiser.likelihood(queries, patches, shift), denoiser.likelihood_among(queries, everyone, shift)]
    if even:
        logits.append(denoiser.likelihood_even(queries, patches, shift))
    for found in logits:
        mean = (found.softmax(1) @ patches.flatten(1)).reshape(5, 3, 9)
        torch.testing.assert_close(denoiser.with_offset(queries, mean, shift), truth, atol=2e-5, rtol=1e-4)


# ---- its parts


def test_scales_end_at_full_size_and_start_with_enough_patches():
    wide = pyramid.scales(scene_of(np.zeros((60, 100, 3), np.uint8), (10, 10, 110, 70), (200, 90)), 26)
    assert wide[-1] == 1.0
    assert wide == sorted(wide)
    assert wide[0] * 60 >= pyramid.PATCH
    assert pyramid.scales(scene_of(np.zeros((5, 5, 3), np.uint8), (0, 0, 5, 5), (30, 30)), 26) == [1.0]


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_patches_cover_every_pixel(stride):
    scene = scene_of(np.zeros((20, 22, 3), np.uint8), (0, 9, 22, 29), (53, 38))
    level = pyramid.level(scene, 1.0, stride)
    assert (level.grid[0] - 1) * stride + pyramid.PATCH == level.size[0] >= 38
    assert (level.grid[1] - 1) * stride + pyramid.PATCH == level.size[1] >= 53
    assert level.size[0] - 38 < stride


def test_the_subject_and_what_has_no_like_are_less_likely():
    photo = np.tile(np.linspace(60, 90, 40, dtype=np.uint8)[:, None, None], (1, 60, 3))
    photo[18:22, 28:32] = 255
    pixels = torch.tensor(photo).permute(2, 0, 1)[None].float() / 127.5 - 1
    subject = torch.zeros_like(pixels[:, :1])
    subject[..., 18:22, 28:32] = 1
    sources = collect(pyramid.level(Scene(pixels, subject, (10, 10, 70, 50), (80, 60)), 1.0, 1))
    planes, rows, columns = sources.grid
    at = matches.ravel(torch.tensor([0, 0]), torch.tensor([17, 2]), torch.tensor([27, 2]), sources.grid)
    assert sources.patches.shape == (planes * rows * columns, 3, pyramid.PATCH**2)
    assert sources.penalty[at[0]] > 10 > sources.penalty[at[1]] == 0
    rare = rarity(sources, 0.2)
    assert rare[at[0]] > rare[at[1]]


def test_repeated_marks_all_but_the_first():
    found = matches.repeated(torch.tensor([[4, 2, 4, 4], [1, 2, 3, 1]]))
    assert found.tolist() == [[False, False, True, True], [False, False, False, True]]


def test_matches_survive_refinement_as_the_same_spot():
    scene = scene_of(photograph("flowers", (84, 60)), (40, 28, 124, 88), (160, 120))
    coarse, fine = pyramid.level(scene, 0.5, 1), pyramid.level(scene, 1.0, 2)
    coarse_grid, grid = collect(coarse).grid, collect(fine).grid
    found = matches.refined(matches.in_place(coarse, coarse_grid)[..., None], coarse_grid, coarse, grid, fine)
    expected = matches.in_place(fine, grid)
    _, row, column = matches.unravel(found[17:35, 25:45, 0], grid)
    _, true_row, true_column = matches.unravel(expected[17:35, 25:45], grid)
    assert int((row - true_row).abs().max()) <= 1
    assert int((column - true_column).abs().max()) <= 1


def test_membrane_carries_a_constant_and_fades():
    level = pyramid.level(scene_of(np.zeros((10, 12, 3), np.uint8), (8, 0, 20, 10), (40, 30)), 1.0, 1)
    constant = torch.full((1, 3, *level.size), 0.25)
    extended = Membrane(level).extend(constant)
    unknown = level.known().expand_as(extended) == 0
    torch.testing.assert_close(extended[unknown], torch.full_like(extended[unknown], 0.25))
    assert float(extended[~unknown].abs().max()) == 0
    assert float(Membrane(level, 0.2).extend(constant)[0, 0, -1, -1]) < 0.1


def test_scene_refuses_a_box_that_does_not_fit():
    with pytest.raises(ValueError, match="not inside the canvas"):
        scene_of(np.zeros((10, 10, 3), np.uint8), (0, 0, 10, 10), (8, 20))
    with pytest.raises(ValueError, match="resize it first"):
        scene_of(np.zeros((10, 9, 3), np.uint8), (0, 0, 10, 10), (20, 20))


def test_detail_comes_back_from_matches_in_step_with_the_canvas():
    stripes = np.tile((np.arange(80) % 4 < 2)[None, :, None] * 200 + 20, (60, 1, 3)).astype(np.uint8)
    scene = scene_of(stripes[14:44, 20:60], (20, 14, 60, 44), (80, 60))
    level = pyramid.level(scene, 1.0, 1)
    grid, sources = PatchGrid(level), collect(level)
    row, column = grid.active // level.grid[1], grid.active % level.grid[1]
    best = matches.ravel(torch.zeros_like(row), row - 14, 4 + column % 4, sources.grid)
    truth = torch.tensor(stripes).permute(2, 0, 1)[None].float() / 127.5 - 1
    flat = torch.full_like(truth, float(truth.mean()))
    painted = with_detail(flat, level, grid, best)
    assert float((painted - truth)[..., 30:50, :18].square().mean()) < 0.15 * float((flat - truth).square().mean())
    torch.testing.assert_close(painted[:, :, 14:44, 20:60], scene.photo)


# ---- the pipeline and its adapter


def test_the_pipeline_is_driven_by_its_scheduler():
    pipeline = PatchDiffusionPipeline(EulerDiscreteScheduler(prediction_type="sample"))
    pipeline.set_progress_bar_config(disable=True)
    scene = scene_of(photograph("flowers", (42, 30)), *FLOWERS)
    (canvas,) = pipeline([scene], [torch.Generator().manual_seed(0)], num_inference_steps=3)
    assert canvas.shape == (1, 3, 60, 80)
    assert pipeline.scheduler.num_inference_steps == 2  # larger scales take two thirds of the steps
    torch.testing.assert_close(canvas[:, :, 14:44, 20:62], scene.photo)


def test_same_seed_same_bytes_other_seed_other_canvas():
    painter = PatchOutpainter(steps=3)
    first, again, other = painter.paint([flowers(1)]), painter.paint([flowers(1)]), painter.paint([flowers(2)])
    np.testing.assert_array_equal(first[0], again[0])
    outside = np.ones((60, 80), bool)
    outside[14:44, 20:62] = False
    assert np.abs(first[0].astype(int) - other[0])[outside].mean() > 1


def test_batch_equals_singles_bitwise():
    second = request(photograph("fog", (50, 40)), (0, 10, 50, 50), (84, 50), seed=5)
    batch = PatchOutpainter(steps=2).paint([flowers(1), second])
    for painted, single in zip(batch, (flowers(1), second), strict=True):
        alone = PatchOutpainter(steps=2).paint([single])[0]
        np.testing.assert_array_equal(painted, alone)


@pytest.mark.parametrize(
    ("photo_size", "box", "size"),
    [
        ((60, 40), (0, 0, 60, 40), (90, 70)),
        ((60, 40), (30, 30, 90, 70), (90, 70)),
        ((90, 40), (0, 15, 90, 55), (90, 70)),
        ((60, 70), (12, 0, 72, 70), (90, 70)),
        ((90, 70), (0, 0, 90, 70), (90, 70)),
        ((89, 70), (0, 0, 89, 70), (90, 70)),
        ((16, 16), (30, 20, 46, 36), (90, 70)),
        ((4, 3), (30, 20, 34, 23), (90, 70)),
        ((1, 1), (0, 0, 1, 1), (9, 5)),
        ((120, 8), (10, 6, 130, 14), (140, 20)),
        ((5, 60), (2, 10, 7, 70), (12, 90)),
    ],
)
def test_any_rectangle_on_any_canvas_keeps_its_pixels(photo_size, box, size):
    photo = photograph("life", photo_size)
    (canvas,) = PatchOutpainter(steps=2).paint([request(photo, box, size)])
    assert canvas.shape == (size[1], size[0], 3)
    assert canvas.dtype == np.uint8
    np.testing.assert_array_equal(canvas[box[1] : box[3], box[0] : box[2]], photo)


def test_a_canvas_above_the_search_keeps_the_photo():
    photo = photograph("fog", (240, 180))
    (canvas,) = PatchOutpainter(steps=2).paint([request(photo, (80, 60, 320, 240), (401, 300))])
    assert canvas.shape == (300, 401, 3)
    np.testing.assert_array_equal(canvas[60:240, 80:320], photo)


@pytest.mark.parametrize("kind", ["gradient", "grey", "black"])
def test_no_step_at_the_frame_of_smooth_photos(kind):
    rows, columns = np.mgrid[0:60, 0:84]
    ramp = {"gradient": 90 + rows + 0.5 * columns, "grey": np.full((60, 84), 128), "black": np.zeros((60, 84))}[kind]
    photo = np.clip(ramp[..., None] * [0.6, 0.8, 1.0], 0, 255).astype(np.uint8)
    (canvas,) = PatchOutpainter().paint([request(photo, (24, 18, 108, 78), (132, 100))])
    values = canvas.astype(float)
    steps = [
        values[17, 24:108] - values[18, 24:108],
        values[78, 24:108] - values[77, 24:108],
        values[18:78, 23] - values[18:78, 24],
        values[18:78, 108] - values[18:78, 107],
    ]
    assert max(float(np.abs(step).mean()) for step in steps) < 3.0


def test_an_all_subject_photo_is_painted_all_the_same():
    (canvas,) = PatchOutpainter(steps=2).paint([flowers(subject=np.ones((30, 42), np.float32))])
    assert canvas.std() > 10


def test_the_subject_is_not_repeated():
    photo = np.tile(np.linspace(90, 140, 60)[:, None, None], (1, 84, 3)).astype(np.uint8)
    photo[22:38, 30:50] = (250, 20, 20)
    subject = np.zeros((60, 84), np.float32)
    subject[22:38, 30:50] = 1
    (canvas,) = PatchOutpainter().paint([request(photo, (24, 18, 108, 78), (132, 100), subject=subject)])
    red = (canvas[..., 0].astype(int) - canvas[..., 1]) > 60
    assert red.sum() == 16 * 20


def test_the_adapter_is_picklable_and_its_settings_are_digested():
    painter = PatchOutpainter(steps=2)
    copy = pickle.loads(pickle.dumps(painter))
    np.testing.assert_array_equal(copy.paint([flowers()])[0], painter.paint([flowers()])[0])
    assert copy.digest == painter.digest != PatchOutpainter(steps=3).digest
    assert math.isclose(len(painter.digest), 16)
    with pytest.raises(ValueError, match="steps=0"):
        PatchOutpainter(steps=0)


def test_a_recipe_sets_the_steps():
    chosen = ModelSettings.model_validate({"outpainter": {"kind": "patch-diffusion", "num_inference_steps": 3}})
    assert models_of(chosen).outpainter.digest == PatchOutpainter(steps=3).digest
    assert models_of(ModelSettings()).outpainter.digest == PatchOutpainter().digest
