"""Explanations in sentences: the part of the photo, the limit, the references."""

import pytest

from procrop_model.inference.explanation import (
    CropFacts,
    Evidence,
    ReferenceWeight,
    explanation_of,
    limit_sentence,
    part_sentence,
    reference_sentence,
)
from procrop_model.retrieval.database import Reference

SIZE = (400, 200)


def weight(title: str, share: float) -> ReferenceWeight:
    return ReferenceWeight(Reference(title, title, "", title, "Ada", "CC0-1.0", "test"), 0.5, share)


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        (CropFacts((0, 0, 400, 200), SIZE), "It is the whole photo."),
        (CropFacts((0, 20, 300, 200), SIZE), "It keeps 68% of the photo and leaves out 25% at the right and 10% at the top."),
        (
            CropFacts((0, 0, 300, 200), SIZE, subject_kept=0.934, faces=2),
            "It keeps 75% of the photo and leaves out 25% at the right; 93% of the subject is inside; no head is cut.",
        ),
        (CropFacts((0, 0, 400, 200), SIZE, faces=3, heads_cut=1), "It is the whole photo; 1 of 3 heads are cut."),
    ],
)  # fmt: skip
def test_the_part_of_the_photo(facts, text):
    assert part_sentence(facts) == text


def test_the_limit_that_shaped_it():
    facts, free = CropFacts((0, 0, 300, 200), SIZE, "4:5"), (100, 0, 400, 200)
    assert "no limit" in limit_sentence(facts, None, ()).lower()
    text = limit_sentence(facts, free, ["cuts or leaves out a head", "keeps 60% of the subject"])
    assert (
        text
        == "The crop that the model rates highest cuts or leaves out a head and keeps 60% of the subject, so the frame was moved."
    )
    assert "is not 4:5" in limit_sentence(facts, free, ())
    assert "another crop higher" in limit_sentence(CropFacts((0, 0, 300, 200), SIZE, "free"), free, ())
    assert "stays whole" in limit_sentence(CropFacts((0, 0, 400, 200), SIZE, unchanged=True), free, ())


def test_the_references_and_what_they_changed():
    both = [weight("Dunes", 0.7), weight("Sea", 0.3)]
    text = reference_sentence(Evidence(references=both, without_references=0.97))
    assert text.startswith("Of 2 reference photographs, 'Dunes' by Ada got 70% of the attention, similarity 0.50.")
    assert "nearly the same crop highest (IoU 0.97)" in text
    assert "another crop" in reference_sentence(Evidence(references=both, without_references=0.4))
    assert "is the most similar" in reference_sentence(Evidence(references=[weight("Dunes", 0), weight("Sea", 0)]))
    assert reference_sentence(Evidence()) == "No reference photographs were used."


def test_the_wanted_crop_is_told_only_if_it_is_another():
    facts = CropFacts((0, 0, 300, 200), SIZE)
    near, far = Evidence((0.0, 0.0, 0.74, 1.0)), Evidence((0.3, 0.0, 1.0, 1.0))
    assert explanation_of(facts, 0.5, 0.4, near).without_limits is None
    told = explanation_of(facts, 0.5, 0.4, far).as_json()
    assert told["without_limits"] == [120, 0, 400, 200] and told["gain"] == 0.1 and told["text"].count(".") >= 3
