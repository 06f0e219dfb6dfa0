import pytest

from pipeline.app.recipe_for_run import recipe_for, with_kept_batch
from pipeline.core.errors import UsageError
from pipeline.planning.recipe_files import without_removed
from pipeline.planning.renamed_keys import new_name, with_new_names
from pipeline.runs.plan import Plan
from stages.recipe import Recipe

OLD = {
    "name": "old",
    "models": {
        "outpainter": {"kind": "sd15-inpaint", "steps": 9, "guidance": 3.0, "offload": "sequential", "batch": 4},
        "captioner": {"kind": "blip", "beams": 2, "max_tokens": 20},
    },
}


@pytest.mark.parametrize(
    ("override", "old", "new"),
    [
        ("models.outpainter={kind: sdxl-inpaint, steps: 4}", "steps", "num_inference_steps"),
        ("models.outpainter={kind: sdxl-inpaint, guidance: 4}", "guidance", "guidance_scale"),
        ("models.outpainter={kind: sdxl-inpaint, offload: model}", "offload", "enable_model_cpu_offload"),
        ("models.outpainter={kind: sdxl-inpaint, torch_dtype: float16}", "torch_dtype", "dtype"),
        ("models.outpainter.steps=4", "steps", "num_inference_steps"),
        ("models.captioner={kind: blip, beams: 2}", "beams", "num_beams"),
        ("models.captioner={kind: blip, max_tokens: 2}", "max_tokens", "max_new_tokens"),
    ],
)
def test_an_old_name_is_refused_with_the_new_one(override, old, new):
    with pytest.raises(UsageError, match=rf"unknown key 'models\.\w+\.{old}': it is now 'models\.\w+\.{new}', as its"):
        recipe_for("demo", [override])


def test_a_recorded_recipe_is_read_by_its_old_names():
    read = with_new_names(OLD)["models"]
    assert read["outpainter"] == {
        "kind": "sd15-inpaint", "num_inference_steps": 9, "guidance_scale": 3.0, "enable_sequential_cpu_offload": True,
        "batch": 4,
    }  # fmt: skip
    assert read["captioner"] == {"kind": "blip", "num_beams": 2, "max_new_tokens": 20}
    assert OLD["models"]["outpainter"]["steps"] == 9
    chat = {"models": {"captioner": {"kind": "chat", "max_tokens": 5}}}
    assert with_new_names(chat) == chat and with_new_names({"name": "x"}) == {"name": "x"}
    assert new_name("models.scorer.steps") == "" and new_name("train.steps") == ""


def test_a_run_with_old_names_keeps_its_batch():
    recipe = Recipe.model_validate(without_removed(OLD))
    body = {**OLD, "models": {"outpainter": {**recipe.models.outpainter.model_dump(mode="json"), "offload": "none"}}}
    body["models"]["outpainter"]["steps"] = body["models"]["outpainter"].pop("num_inference_steps")
    auto = Recipe.model_validate(
        {**without_removed(OLD), "models": {"outpainter": {**recipe.models.outpainter.model_dump(), "batch": "auto"}}}
    )
    assert with_kept_batch(auto, Plan("old", 0, 8, body)).models.outpainter.batch == 4
