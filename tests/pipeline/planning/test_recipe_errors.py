"""One line for each mistake in a recipe: the key, what is allowed, what was probably meant, and no sentence of a library."""

import re

import pytest

from pipeline.app.recipe_for_run import recipe_for
from pipeline.core.errors import UsageError
from pipeline.planning.recipe_errors import did_you_mean

FOREIGN = re.compile(
    r"Input should|Value error|validation|Field required|Extra inputs|not permitted|discriminator|tag "
)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("outpaint.variant=3", r"unknown key 'outpaint.variant' \(did you mean 'variants'\?\); allowed here: checks, .*"),
        ("variants=3", r"unknown key 'variants' \(did you mean 'outpaint.variants'\?\)"),
        ("models.scorer=laoin", r"models.scorer = 'laoin': give composition, .* \(did you mean 'laion'\?\)"),
        ("models.scorer.kind=laoin", r"models.scorer = 'laoin': give composition, .* \(did you mean 'laion'\?\)"),
        ("models.scorer=3", r"models.scorer = 3: give a backend: composition"),
        ("models.scorer={kind: laion, keep: x}", r"models.scorer.keep = 'x': give a whole number"),
        (
            "models.scorer={kind: ensemble, members: [{kind: laion, kep: 3}]}",
            r"unknown key 'models.scorer.members.0.kep' \(did you mean 'keep'\?\)",
        ),
        ("models=3", r"models = 3: give a mapping of settings"),
        ("outpaint.variants=many", r"outpaint.variants = 'many': give a whole number, 1 to 99"),
        ("outpaint.placement.area=[1]", r"outpaint.placement.area.*: give"),
        ("train.model.fusion=atention", r"give nothing, attention, .* \(did you mean 'attention'\?\)"),
        ("ingest.splits={Train: 1}", r"ingest.splits.Train = 'Train': give train, val or test \(did you mean 'train'\?\)"),
        ("ray={ingst: {}}", r"ray.ingst = 'ingst': give ingest, .* \(did you mean 'ingest'\?\)"),
        ("ray={ingest: {num_cpu: 1}}", r"unknown key 'ray.ingest.num_cpu' \(did you mean 'num_cpus'\?\)"),
        ("train.val_split=train", r"."),
        ("models.captioner={kind: chat}", r"models.captioner.base_url is missing: give text"),
        ("models.outpainter.kind=controlnet-inpaint", r"models: outpainter 'controlnet-inpaint' is steered by regions"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_of_ours(override, message):
    with pytest.raises(UsageError, match=message) as caught:
        recipe_for("demo", [override])
    assert not FOREIGN.search(str(caught.value)) and "\n" not in str(caught.value)


def test_passwords_stay_out_of_errors():
    with pytest.raises(UsageError) as caught:
        recipe_for("demo", ["outpaint.variants=https://me:secret@host/x"])
    assert "secret" not in str(caught.value) and "***@host" in str(caught.value)


def test_close_words_are_named():
    assert did_you_mean("sdlx", ["sdxl", "demo"]) == " (did you mean 'sdxl'?)"
    assert did_you_mean("nothing-like-it", ["sdxl", "demo"]) == ""
