import numpy as np

from stages.backends.captioners.template import CaptionSettings

IMAGES = [np.zeros((4, 6, 3), np.uint8)] * 2


def test_a_title_is_filled_into_each_template():
    settings = CaptionSettings(inside="photo of {title}", beyond="around {title}, {title}", negative="text")
    named, unnamed = settings.build().caption(IMAGES, ["a {beach}", ""])
    assert (named.inside, named.beyond) == ("photo of a {beach}", "around a {beach}, a {beach}")
    assert (unnamed.inside, unnamed.negative) == ("photo of the scene", "text")


def test_off_leaves_all_prompts_empty():
    prompts = CaptionSettings(kind="off").build().caption(IMAGES, ["a", "b"])
    assert [(p.inside, p.beyond, p.negative) for p in prompts] == [("", "", "")] * 2


def test_the_digest_follows_the_settings():
    assert CaptionSettings().build().digest == CaptionSettings().build().digest
    assert CaptionSettings(untitled="a place").build().digest != CaptionSettings().build().digest
