"""The verdict on a whole dataset, rule by rule as docs/licences.md lists them."""

import pytest

from stages.publishing.licence_verdict import licence_counts, refused_photos, restricted_models, verdict_of


def verdict(*licences):
    return verdict_of({(licence, ""): 1 for licence in licences})


@pytest.mark.parametrize(
    ("licences", "whole", "words"),
    [
        (["CC-BY-4.0", "CC-BY-ND-4.0", ""], "other", "Not to be shared"),
        (["CC-BY-4.0", "my own"], "unknown", "Not known"),
        (["CC-BY-SA-4.0", "GFDL"], "other", "do not mix"),
        (["CC-BY-SA-4.0", "CC-BY-NC-4.0"], "other", "do not mix"),
        (["CC-BY-NC-SA-4.0", "CC-BY-NC-4.0", "CC0"], "cc-by-nc-sa-4.0", "Non-commercial use only, with attribution and"),
        (["CC-BY-SA-3.0", "CC-BY-SA-4.0", "CC-BY-2.0"], "cc-by-sa-4.0", "under the same licence"),
        (["CC-BY-SA-1.0", "CC-BY-SA-4.0"], "other", "versions"),
        (["GPL-2.0", "GPL-3.0"], "other", "do not mix"),
        (["CC-BY-NC-3.0", "CC-BY-4.0"], "cc-by-nc-3.0", "Non-commercial use only, with attribution."),
        (["CC-BY-2.0", "CC-BY-4.0", "CC0"], "cc-by-4.0", "with attribution"),
        (["MIT"], "cc-by-4.0", "with attribution"),
        (["CC0", "public domain"], "cc0-1.0", "without conditions"),
        ([], "cc0-1.0", ""),
    ],
)  # fmt: skip
def test_rules_in_their_order(licences, whole, words):
    found = verdict(*licences)
    assert found.licence == whole and words in found.text


def test_problems_are_counted_and_told():
    found = verdict_of({("CC-BY-NC-4.0", ""): 3, ("", ""): 1200, ("CC-BY-ND-2.0", ""): 1, ("CC0", ""): 5})
    assert found.problems == {"licence_no_derivatives": 1, "licence_non_commercial": 3, "licence_unknown": 1200}
    assert found.warnings[2] == "1,200 photographs have an unknown licence or none"


def test_counts_join_licences_of_one_text():
    assert licence_counts({("B", "x"): 1, ("B", ""): 2, ("", ""): 1, ("A", ""): 1}) == {"B": 3, "A": 1, "not stated": 1}


def test_a_strict_dataset_refuses_problems_by_photograph():
    photos = [("a", "CC-BY-4.0", ""), ("b", "CC-BY-NC-4.0", ""), ("c", "", "")]
    assert refused_photos(photos) == {
        "b": ("licence_non_commercial", "CC-BY-NC-4.0"), "c": ("licence_unknown", "not stated")
    }  # fmt: skip


def test_models_with_limits_are_named():
    models = [("outpainter", "flux", "FLUX.1 [dev] Non-Commercial License (no commercial use)"), ("scorer", "s", "MIT")]
    assert restricted_models(models) == ["flux (FLUX.1 [dev] Non-Commercial License (no commercial use))"]
