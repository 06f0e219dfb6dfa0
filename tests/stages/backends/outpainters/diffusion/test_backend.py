import pickle
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from pipeline.core.errors import ModelError, SampleError, UsageError
from pipeline.planning.recipe_files import parse
from stages.backends.base.protocols import Declined, PaintRequest
from stages.backends.outpainters.diffusion.engine import DiffusionEngine
from stages.backends.outpainters.diffusion.lora import layer_name
from stages.backends.registry import ModelSettings, models_of
from tests import tiny_checkpoints as tiny

KINDS = (
    "sd15-inpaint",
    "sd2-inpaint",
    "sdxl-inpaint",
    "flux-fill",
    "controlnet-inpaint",
    "sdxl-controlnet-inpaint",
    "sd3-inpaint",
    "z-image",
    "auto",
)
MAKERS = {
    "sd15-inpaint": tiny.stable_diffusion,
    "sd2-inpaint": lambda folder: tiny.stable_diffusion(folder, 1024, checker=False),
    "sdxl-inpaint": tiny.stable_diffusion_xl,
    "flux-fill": tiny.flux_fill,
    "controlnet-inpaint": tiny.stable_diffusion,
    "sdxl-controlnet-inpaint": tiny.stable_diffusion_xl,
    "sd3-inpaint": tiny.stable_diffusion_3,
    "z-image": tiny.z_image,
    "auto": tiny.stable_diffusion_xl,
}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """One folder a kind, made when it is first asked for."""
    made = {}

    def get(kind):
        if kind not in made:
            made[kind] = MAKERS[kind](tmp_path_factory.mktemp(kind))
            if kind == "controlnet-inpaint":
                tiny.controlnet(made[kind].parent)
            if kind == "sdxl-controlnet-inpaint":
                tiny.controlnet(made[kind].parent, 2048, noise=0.3, **tiny.SDXL)
        return made[kind]

    return get


def settings_of(kind, model, **over):
    data = {
        "kind": kind,
        "model": str(model),
        "num_inference_steps": 2,
        "strength": 1.0,
        "side": 64,
        "dtype": "float32",
        "batch": 2,
    }
    if kind == "auto":
        data["guidance_scale"] = 4.0
    data["safety"] = (model / "safety_checker").is_dir()
    if "controlnet" in kind:
        data["controlnet"] = str(model.parent / "controlnet")
    composer = {"kind": "sam" if "controlnet" in kind else "none"}
    return ModelSettings.model_validate(
        {"outpainter": {**data, "device": "cpu", **over}, "composer": composer}
    ).outpainter


def painter_of(kind, model, **over):
    return settings_of(kind, model, **over).build()


def request(seed, size=(96, 64), box=(20, 10, 70, 50), regions=1, prompt="a dog on grass"):
    photo = np.random.default_rng(5).integers(0, 256, (box[3] - box[1], box[2] - box[0], 3), dtype=np.uint8)
    labels = np.ones((60, 80), np.int32)
    labels[:, 40:] = regions
    return PaintRequest(photo, None, box, size, seed, prompt, "blurry", labels)


@pytest.mark.parametrize("kind", KINDS)
def test_a_hub_checkpoint_paints_canvases_of_their_own_sizes(checkpoints, kind):
    painter = painter_of(kind, checkpoints(kind))
    requests = [request(1), request(2, (64, 96), (5, 5, 60, 40)), request(3, (90, 61), (0, 0, 50, 61))]
    canvases = painter.paint(requests)
    assert [canvas.shape for canvas in canvases] == [(64, 96, 3), (96, 64, 3), (61, 90, 3)]
    assert all(canvas.dtype == np.uint8 for canvas in canvases)
    assert painter.paint([]) == []


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_bytes_in_a_fresh_state(checkpoints, kind):
    painter = painter_of(kind, checkpoints(kind))
    first = painter.paint([request(1), request(2)])
    again = pickle.loads(pickle.dumps(painter)).paint([request(1), request(2)])
    assert np.array_equal(first[0], again[0]) and np.array_equal(first[1], again[1])
    assert not np.array_equal(first[0], first[1])


@pytest.mark.parametrize("kind", ["sd15-inpaint", "sdxl-inpaint", "flux-fill", "sd3-inpaint", "z-image"])
def test_a_batch_differs_from_singles_by_rounding_only(checkpoints, kind):
    painter = painter_of(kind, checkpoints(kind))
    batch = painter.paint([request(1), request(2)])
    for number, canvas in enumerate(batch, start=1):
        (single,) = painter.paint([request(number)])
        assert np.abs(canvas.astype(int) - single).max() <= 2


def test_the_prompt_reaches_the_model(checkpoints):
    painter = painter_of("sd15-inpaint", checkpoints("sd15-inpaint"))
    dog, cat = painter.paint([request(1), request(1, prompt="zzz, 9")])
    assert not np.array_equal(dog, cat)


@pytest.mark.parametrize("kind", ["controlnet-inpaint", "sdxl-controlnet-inpaint"])
def test_regions_steer_a_controlnet(checkpoints, kind):
    painter = painter_of(kind, checkpoints(kind))
    one, two = painter.paint([request(1), request(1, regions=2)])
    assert not np.array_equal(one, two)
    bare = PaintRequest(request(1).photo, None, (20, 10, 70, 50), (96, 64), 1)
    with pytest.raises(ModelError, match=r"models\.composer"):
        painter_of(kind, checkpoints(kind)).paint([bare])


def test_unsafe_canvases_are_declined(checkpoints, tmp_path):
    model = shutil.copytree(checkpoints("sd15-inpaint"), tmp_path / "model")
    weights = model / "safety_checker" / "model.safetensors"
    tensors = load_file(weights)
    tensors["concept_embeds_weights"].fill_(-9)  # every cosine is above
    save_file(tensors, weights, {"format": "pt"})
    declined = painter_of("sd15-inpaint", model).paint([request(1)])
    assert declined == [Declined("unsafe", "the safety checker found it")]
    assert painter_of("sd15-inpaint", model, safety=False).paint([request(1)])[0].shape == (64, 96, 3)


def test_a_checkpoint_without_a_checker_must_be_given_one(checkpoints):
    sd2, checker = checkpoints("sd2-inpaint"), checkpoints("sd15-inpaint") / "safety_checker"
    with pytest.raises(ModelError, match="safety_model"):
        painter_of("sd2-inpaint", sd2, safety=True).paint([request(1)])
    shutil.copy(checker.parent / "feature_extractor" / "preprocessor_config.json", checker)
    (canvas,) = painter_of("sd2-inpaint", sd2, safety=True, safety_model=str(checker)).paint([request(1)])
    assert canvas.shape == (64, 96, 3)


class Crowded:
    """A pipeline whose device has memory for ``room`` canvases."""

    def __init__(self, pipe, room):
        self.pipe, self.room, self.seen = pipe, room, []

    def __getattr__(self, name):
        return getattr(self.pipe, name)

    def __call__(self, **arguments):
        self.seen.append(len(arguments["generator"]))
        if self.seen[-1] > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return self.pipe(**arguments)


def test_out_of_memory_halves_the_batch_then_fails_the_sample(checkpoints):
    settings = settings_of("sd15-inpaint", checkpoints("sd15-inpaint"), batch=4)
    pipe = Crowded(DiffusionEngine(settings).pipe, room=2)
    engine = DiffusionEngine(settings, pipe)
    assert len(engine.paint([request(seed) for seed in range(5)])) == 5
    assert pipe.seen == [4, 2, 2, 1]
    pipe.room = 0
    with pytest.raises(SampleError, match="no memory for one sample"):
        engine.paint([request(1)])


def test_the_digest_follows_weights_and_settings_not_the_device(checkpoints, tmp_path):
    model = shutil.copytree(checkpoints("sd2-inpaint"), tmp_path / "model")
    before = painter_of("sd2-inpaint", model).digest
    assert painter_of("sd2-inpaint", model, device="cuda:1").digest == before
    assert painter_of("sd2-inpaint", model, num_inference_steps=3).digest != before
    config = model / "scheduler" / "scheduler_config.json"
    config.write_text(config.read_text().replace("0.02", "0.03"))
    assert painter_of("sd2-inpaint", model).digest != before


def test_schedulers_by_name(checkpoints):
    model = checkpoints("sd2-inpaint")
    (first,) = painter_of("sd2-inpaint", model).paint([request(1)])
    chosen = painter_of("sd2-inpaint", model, scheduler="DDIMScheduler")
    assert not np.array_equal(first, chosen.paint([request(1)])[0])
    with pytest.raises(UsageError, match="DDIMScheduler"):
        painter_of("sd2-inpaint", model, scheduler="FlowMatchEulerDiscreteScheduler").paint([request(1)])


def test_a_lora_is_added_into_the_weights(checkpoints, tmp_path):
    model, name = checkpoints("sd2-inpaint"), "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    down, up = torch.randn(2, 8), torch.randn(8, 2)
    save_file({f"unet.{name}.lora_A.weight": down, f"unet.{name}.lora_B.weight": up}, tmp_path / "lora.safetensors")
    plain = DiffusionEngine(settings_of("sd2-inpaint", model)).pipe.unet.get_submodule(name).weight
    settings = settings_of("sd2-inpaint", model, lora=str(tmp_path / "lora.safetensors"), lora_scale=0.5)
    changed = DiffusionEngine(settings).pipe.unet.get_submodule(name).weight
    torch.testing.assert_close(changed, plain + 0.5 * up @ down)
    assert settings.build().digest != painter_of("sd2-inpaint", model).digest


def test_a_lora_in_kohyas_names_uses_its_alpha(checkpoints, tmp_path):
    model, name = checkpoints("sd2-inpaint"), "down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
    down, up = torch.randn(4, 8), torch.randn(8, 4)
    weights = {f"lora_unet_{name}.lora_down.weight": down, f"lora_unet_{name}.lora_up.weight": up}
    save_file({**weights, f"lora_unet_{name}.alpha": torch.tensor(2.0)}, tmp_path / "lora.safetensors")
    address = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    plain = DiffusionEngine(settings_of("sd2-inpaint", model)).pipe.unet.get_submodule(address).weight
    settings = settings_of("sd2-inpaint", model, lora=str(tmp_path))
    changed = DiffusionEngine(settings).pipe.unet.get_submodule(address).weight
    torch.testing.assert_close(changed, plain + 0.5 * up @ down)


@pytest.mark.parametrize(
    ("stored", "layer"),
    [
        ("unet.a.attn1.processor.to_out_lora", "unet.a.attn1.to_out.0"),
        ("unet.a.attn2.to_k_lora", "unet.a.attn2.to_k"),
        ("unet.a.ff.net.0.proj.lora", "unet.a.ff.net.0.proj"),
        ("text_encoder.layers.0.self_attn.to_out_lora", "text_encoder.layers.0.self_attn.out_proj"),
        ("text_encoder.layers.0.mlp.fc1.lora_linear_layer", "text_encoder.layers.0.mlp.fc1"),
        ("transformer.blocks.0.attn.to_q", "transformer.blocks.0.attn.to_q"),
    ],
)
def test_names_of_loras_lead_to_layers(stored, layer):
    assert layer_name(stored) == layer


def test_a_lora_for_another_model_is_a_model_error(checkpoints, tmp_path):
    weights = {"unet.mid.nowhere.lora_A.weight": torch.ones(1, 8), "unet.mid.nowhere.lora_B.weight": torch.ones(8, 1)}
    save_file(weights, tmp_path / "lora.safetensors")
    with pytest.raises(ModelError, match="for another model"):
        painter_of("sd2-inpaint", checkpoints("sd2-inpaint"), lora=str(tmp_path)).paint([request(1)])


@pytest.fixture
def broken(checkpoints, tmp_path):
    return shutil.copytree(checkpoints("sd2-inpaint"), tmp_path / "model")


def refuses(model, match, kind="sd2-inpaint"):
    with pytest.raises(ModelError, match=match):
        painter_of(kind, model).paint([request(1)])


def test_a_checkpoint_of_another_family_is_refused(checkpoints):
    refuses(checkpoints("sdxl-inpaint"), "StableDiffusionXLInpaintPipeline", "sd15-inpaint")
    refuses(checkpoints("sd2-inpaint"), "width 1024, 'sd15-inpaint' 768", "sd15-inpaint")


def test_a_model_not_made_for_inpainting_is_refused(tmp_path):
    refuses(tiny.stable_diffusion(tmp_path, 768, inputs=4), "takes 4 channels", "sd15-inpaint")


def test_missing_files_are_model_errors(broken):
    (broken / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    refuses(broken, "does not load")
    (broken / "model_index.json").unlink()
    refuses(broken, r"no model_index\.json")


@pytest.mark.parametrize("part", ["unet/diffusion_pytorch_model", "text_encoder/model", "vae/diffusion_pytorch_model"])
def test_truncated_weights_are_a_model_error(broken, part):
    weights = broken / f"{part}.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    refuses(broken, "does not load")


def test_a_text_encoder_that_lacks_a_weight_is_refused(broken):
    weights = broken / "text_encoder" / "model.safetensors"
    tensors = load_file(weights)
    tensors.pop(next(name for name in tensors if "q_proj.weight" in name))
    save_file(tensors, weights, {"format": "pt"})
    refuses(broken, "lacks 1 weights")


class Evil:
    def __reduce__(self):
        return (print, ("this must never run",))


@pytest.mark.parametrize("part", ["unet/diffusion_pytorch_model", "text_encoder/model"])
def test_a_pickle_is_loaded_only_if_it_holds_weights_alone(broken, part, capsys):
    safe = broken / f"{part}.safetensors"
    tensors = load_file(safe)
    safe.unlink()
    pickled = safe.with_name("pytorch_model.bin" if "text" in part else "diffusion_pytorch_model.bin")
    torch.save(tensors, pickled)
    assert len(painter_of("sd2-inpaint", broken).paint([request(1)])) == 1
    torch.save({**tensors, "evil": Evil()}, pickled)
    refuses(broken, "does not load")
    assert "never run" not in capsys.readouterr().out


def test_settings_that_cannot_work_are_refused():
    def refused(match, **given):
        with pytest.raises(UsageError, match=match):
            parse(ModelSettings, {"outpainter": {"kind": "sdxl-inpaint", **given}}, "x")

    refused("leave no step", num_inference_steps=1, strength=0.5)
    refused("batch 0", batch=0)
    refused("unknown key 'outpainter.stepz'; allowed here: .*num_inference_steps", stepz=1)
    refused("outpainter.num_inference_steps = 0", num_inference_steps=0)
    refused("outpainter = 'sd9': give patch-diffusion", kind="sd9")


def test_published_settings_are_the_defaults():
    chosen = ModelSettings.model_validate({"outpainter": {"kind": "sdxl-inpaint", "num_inference_steps": 4}}).outpainter
    assert (chosen.side, chosen.num_inference_steps, chosen.guidance_scale) == (1024, 4, 8.0)
    assert "sdxl-inpaint" in repr(chosen) and "RAIL" in chosen.licence
    with pytest.raises(ModelError, match="hf download"):
        _ = models_of(ModelSettings(outpainter=chosen)).outpainter.digest
