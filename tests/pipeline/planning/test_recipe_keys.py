"""Keys of recipes: value, default, type and meaning, for every recipe and every backend."""

import pytest

from pipeline.app.recipe_for_run import recipe_for
from pipeline.planning.recipe_files import recipe_names
from pipeline.planning.recipe_keys import first_sentence, keys_of_recipe, keys_of_settings, meanings_of
from stages.outpaint import OutpaintSettings
from stages.recipe import Recipe


@pytest.mark.parametrize("name", recipe_names())
def test_each_key_of_a_recipe_is_explained(name):
    keys = keys_of_recipe(recipe_for(name, ()))
    assert [key.name for key in keys if not key.meaning or not key.value or "a value" in key.type] == []
    assert len({key.name for key in keys}) == len(keys) > 100


def test_each_key_of_each_backend_is_explained():
    keys = keys_of_settings(Recipe)
    assert [key.name for key in keys if not key.meaning or "a value" in key.type] == []
    assert {"models.scorer(laion).keep", "models.scorer(ensemble).members", "ray"} <= {key.name for key in keys}


def test_a_key_shows_value_default_type_and_meaning():
    rows = {key.name: key for key in keys_of_recipe(recipe_for("sdxl", ()))}
    variants = rows["outpaint.variants"]
    assert (variants.value, variants.default, variants.type) == ("5", "4", "a whole number, 1 to 99")
    assert variants.meaning == "canvases of each photo in the train split." and variants.is_changed
    assert (rows["models.scorer.kind"].value, rows["models.scorer.kind"].default) == ("laion", "composition")
    steps = rows["models.outpainter.num_inference_steps"]  # of this kind of out-painter
    assert steps.value == steps.default == "30" and not steps.is_changed
    assert rows["outpaint.placement.area"].value == "[0.1, 0.5]"


def test_meanings_come_from_docstrings():
    assert meanings_of(OutpaintSettings)["long_side"] == "of the canvas, in pixels."
    assert first_sentence(OutpaintSettings) == "Settings of the canvases"
