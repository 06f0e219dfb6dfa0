"""Each word that a stage may drop a sample with is explained."""

import re

from pipeline.app.recipe_for_run import recipe_for
from stages.drop_reasons import DROP_REASONS
from stages.recipe import Recipe, stages_of
from tests.doc_pages import ROOT
from tests.test_docs import has_setting

RAISED = re.compile(r"(?:SampleError|Declined)\(\s*\"([a-z_]+)\"")


def words_in_the_code():
    texts = (path.read_text(encoding="utf-8") for path in (ROOT / "stages").rglob("*.py"))
    return {word for text in texts for word in RAISED.findall(text)}


def test_each_word_is_explained_and_no_other():
    reasons = {word: stage.name for stage in stages_of(recipe_for("", ())) for word in stage.reasons}
    assert set(DROP_REASONS) == set(reasons) | words_in_the_code()
    stages = {word: one.stage for word, one in DROP_REASONS.items()}
    assert {word: stages[word] for word in reasons} == {**reasons, "invented_face": "perceive/canvases"}


def test_remedies_name_settings_that_exist():
    named = [
        word.strip(",")
        for one in DROP_REASONS.values()
        for word in one.remedy.split()
        if re.match(r"[a-z]+\.[a-z_.]+,?$", word)
    ]
    assert len(named) > 10 and [name for name in named if not has_setting(Recipe, name.split("."))] == []
