"""Licences as people write them, and what they allow."""

import pytest

from pipeline.core.resources import bundled
from stages.photos.credits import parse_credits
from stages.publishing.licences import NO_DERIVATIVES, NON_COMMERCIAL, UNKNOWN, terms_of


@pytest.mark.parametrize(
    ("text", "name", "problem"),
    [
        ("CC-BY-4.0", "cc-by-4.0", ""), ("cc by 4.0", "cc-by-4.0", ""), ("CC BY-SA 3.0 Unported", "cc-by-sa-3.0", ""),
        ("Creative Commons Attribution-ShareAlike 4.0 International", "cc-by-sa-4.0", ""), ("CC0", "cc0-1.0", ""),
        ("public domain", "cc0-1.0", ""), ("CC-BY-SA-2.0-de", "cc-by-sa-2.0", ""), ("MIT", "mit", ""),
        ("CC-BY-NC-4.0", "cc-by-nc-4.0", NON_COMMERCIAL), ("cc_by_nc_sa_4.0", "cc-by-nc-sa-4.0", NON_COMMERCIAL),
        ("CC BY-NoDerivs 2.0", "cc-by-nd-2.0", NO_DERIVATIVES), ("CC-BY-NC-ND-4.0", "cc-by-nc-nd-4.0", NO_DERIVATIVES),
        ("All rights reserved", "other", NO_DERIVATIVES),
        ("", "", UNKNOWN), ("CC-BY-4.0: no use for money", "", UNKNOWN), ("CC", "", UNKNOWN), ("CC-4.0", "", UNKNOWN),
        ("CC-BY-SA-ND-4.0", "", UNKNOWN), ("free for good friends", "", UNKNOWN), ("CC-BY-4.0\nlicense: mit", "", UNKNOWN),
    ],
)  # fmt: skip
def test_text_is_understood_as_a_whole_or_not_at_all(text, name, problem):
    assert (terms_of(text).name, terms_of(text).problem) == (name, problem)


def test_an_address_counts_where_the_text_says_nothing():
    assert terms_of("", "https://creativecommons.org/licenses/by-nc/4.0/").name == "cc-by-nc-4.0"
    assert terms_of("", "http://www.creativecommons.org/publicdomain/zero/1.0/").name == "cc0-1.0"
    assert terms_of("", "https://example.org/licenses/by/4.0/").problem == UNKNOWN
    assert terms_of("ask me", "https://creativecommons.org/licenses/by/4.0/").problem == UNKNOWN


def test_of_text_and_address_all_restrictions_count():
    both = terms_of("CC-BY-4.0", "https://creativecommons.org/licenses/by-nc-sa/4.0/")
    assert both.problem == NON_COMMERCIAL and both.share_alike and both.name == "cc-by-nc-sa-4.0"


def test_the_bundled_photographs_have_no_problem():
    credits = parse_credits((bundled("assets") / "photos" / "credits.csv").read_bytes(), "credits.csv")
    assert {terms_of(row["licence"], row["licence_url"]).problem for row in credits.values()} == {""}
