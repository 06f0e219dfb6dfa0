"""Recipes: inheritance, overrides, and one line for each mistake."""

import pytest

from pipeline.app.recipe_for_run import recipe_for
from pipeline.core.errors import UsageError
from pipeline.planning import recipe_files
from stages.recipe import Recipe


def parse(text, tmp_path, *overrides):
    path = tmp_path / "r.yaml"
    path.write_text(text)
    return recipe_files.parse(
        Recipe, recipe_files.override(recipe_files.read_recipe_mapping(str(path)), overrides), "r.yaml"
    )


@pytest.mark.parametrize("name", recipe_files.recipe_names())
def test_every_bundled_recipe_is_valid(name):
    assert recipe_files.parse(Recipe, recipe_files.read_recipe_mapping(name), name).name == name


def test_base_and_overrides(tmp_path):
    recipe = parse("base: default\nname: mine\noutpaint: {variants: 2}", tmp_path, "outpaint.long_side=128", "seed=7")
    assert (recipe.outpaint.variants, recipe.outpaint.long_side, recipe.seed) == (2, 128, 7)
    assert recipe.ingest.source == "assets:photos"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "name: x\noutpaint: {variant: 2}",
            r"unknown key 'outpaint.variant' \(did you mean 'variants'\?\); allowed here: .*variants",
        ),
        ("name: x\nnope: 2", r"unknown key 'nope'; allowed here: build, .*"),
        ("name: x\noutpaint: {variants: many}", r"outpaint.variants = 'many': give a whole number"),
        ("name: x\noutpaint: {variants: 0}", r"outpaint.variants = 0: give a whole number, 1 to 99"),
        ("name: Bad Name", r"name = 'Bad Name'"),
        ("name: x\nseed: 1\nseed: 2", r"'seed' is there twice: see line 3, column 1; keep one"),
        ("name: x\ningest: {min_side: 9, min_side: 10}", r"'min_side' is there twice: see line 2"),
        ("name: x\ningest: {long_side: 1}", r"long_side 1: give 0 \(never reduced\) or at least 64 pixels"),
        ("name: x\ningest: {splits: {Train: 1}}", r"Train"),
        ("name: x\ningest: {splits: {train: 0}}", r"splits: all shares are 0"),
        ("seed: 1", r"name is missing: give text"),
        ("[1, 2]", r"must be a mapping"),
        ("name: [", r"not valid YAML"),
        ("name: x\nfilter: {max_crops: 60}", r"filter.max_crops 60 exceeds refine.beam"),
    ],
)
def test_mistakes_get_one_line_that_names_key_and_value(text, message, tmp_path):
    with pytest.raises(UsageError, match=message) as caught:
        parse(text, tmp_path)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_off_is_a_word_in_yaml_too(tmp_path):
    assert parse("name: x\nmodels: {captioner: {kind: off}}", tmp_path).models.captioner.kind == "off"


def test_unknown_recipe_lists_the_known_ones():
    with pytest.raises(UsageError, match=r"known are .*default.*demo"):
        recipe_files.find_recipe("nosuch")
    with pytest.raises(UsageError, match="does not exist"):
        recipe_files.find_recipe("nosuch.yaml")


def test_an_override_without_a_value_is_refused():
    with pytest.raises(UsageError, match="key=value"):
        recipe_files.override({}, ["outpaint.variants"])


def test_a_circle_of_bases_is_refused(tmp_path):
    (tmp_path / "a.yaml").write_text(f"base: {tmp_path}/a.yaml")
    with pytest.raises(UsageError, match="circle"):
        recipe_files.read_recipe_mapping(str(tmp_path / "a.yaml"))


def test_another_kind_of_model_does_not_inherit_parameters():
    merged = recipe_files.merge({"m": {"kind": "a", "size": 3}}, {"m": {"kind": "b"}})
    assert merged == {"m": {"kind": "b"}}
    assert recipe_files.merge({"m": {"kind": "a", "size": 3}}, {"m": {"size": 4}}) == {"m": {"kind": "a", "size": 4}}


def test_a_word_is_short_for_a_kind():
    recipe = recipe_for("demo", ["models.scorer=laion", "models.scorer.keep=7", "models.captioner=off"])
    assert (recipe.models.scorer.kind, recipe.models.scorer.keep, recipe.models.captioner.kind) == ("laion", 7, "off")
    assert (
        recipe_for("sdxl", ["models.scorer=laion"]).models.scorer.keep == 24
    )  # the recipe's own settings of this kind
    assert recipe_for("sdxl", ["models.scorer=composition"]).models.scorer.kind == "composition"


def test_settings_of_earlier_versions_are_dropped_from_records():
    recorded = {"seed": 3, "models": {"outpainter": {"kind": "patch-diffusion", "max_side": 512}, "scorer": {}}}
    before = str(recorded)
    kept = recipe_files.without_removed(recorded)
    assert kept == {"seed": 3, "models": {"outpainter": {"kind": "patch-diffusion"}, "scorer": {}}}
    assert str(recorded) == before
    assert recipe_files.without_removed({"models": {}}) == {"models": {}}
    with pytest.raises(UsageError, match="max_side"):
        recipe_files.parse(Recipe, {"name": "x", **recorded}, "'x'")


@pytest.mark.parametrize(
    "text", ["2024", "007", "sub #2", "*.jpg", "2024/*.jpg", "~/x", "yes", "a: b", "[x]", "1e3", "null", "- x"]
)
def test_a_setting_of_text_is_taken_as_it_is_written(text):
    assert recipe_for("demo", [f"ingest.source={text}"]).ingest.source == text
    assert recipe_for("demo", [f"ingest.source='{text}'"]).ingest.source == text


def test_other_settings_stay_yaml_and_bad_yaml_is_one_line():
    recipe = recipe_for("demo", ["outpaint.variants=3", "ingest.splits={train: 1}", "models.scorer.folder=''"])
    assert recipe.outpaint.variants == 3 and recipe.ingest.splits == {"train": 1} and recipe.models.scorer.folder == ""
    for text in ("outpaint.variants=*x", "outpaint.variants=[1", "outpaint.variants={a: b: c}"):
        with pytest.raises(UsageError, match="not valid YAML"):
            recipe_for("demo", [text])
    with pytest.raises(UsageError, match="train, val or test"):
        recipe_for("demo", ["ingest.splits={Train: 1}"])
