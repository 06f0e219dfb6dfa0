"""The card with whatever authors and lists may hold: its metadata keep their form, and nothing in it becomes markup."""

import io
from html.parser import HTMLParser

import pytest
import yaml
from huggingface_hub import DatasetCard

from pipeline.core.escaping import one_line
from stages.publishing.attribution import Attribution, PhotoCredits
from stages.publishing.dataset_card import HUB_LICENCES, dataset_card, size_category
from stages.publishing.dataset_facts import DatasetFacts, linked
from stages.publishing.licence_verdict import verdict_of
from tests.pipeline.core.test_escaping import NASTY

KEYS = {
    "pretty_name", "license", "license_details", "annotations_creators", "task_categories", "size_categories", "tags", "configs",
}  # fmt: skip


def facts_with(text, licence="CC0"):
    licences = {(text, text): 3, (licence, ""): 1}
    credits = [(PhotoCredits("k", text, text, text, text, text), 3)]
    return DatasetFacts(
        name="x", splits={"train": ["x-train-000000.tar"], "val": ["x-val-000000.tar"]}, samples={"train": 1, "val": 1},
        sizes=(1, 1, 1), total=2, crops=1, histogram=[("0-1", 1)], funnel=[("ingest", 1, 1, text)], outpainters=[text],
        scorers=[text], models=[("scorer", text, text)], attribution=Attribution(4, credits, licences),
        verdict=verdict_of(licences),
    )  # fmt: skip


@pytest.mark.parametrize("text", NASTY)
def test_hostile_credits_stay_text(text):
    card = DatasetCard(dataset_card(facts_with(text)).decode())
    head = card.data.to_dict()
    assert set(head) == KEYS and head["license"] == "unknown" and head["task_categories"] == ["object-detection"]
    first, _, second = head["license_details"].partition("; CC0")
    assert first == one_line(text or "not stated")[:1000] and second == ""
    assert head["configs"][0]["data_files"][1] == {"split": "validation", "path": "shards/x-val-*.tar"}
    rows = [line for line in card.text.splitlines() if line.startswith("| ") and line.endswith(" | 3 |")]
    assert len(rows[-1].replace("\\\\", "").replace("\\|", "").split("|")) == 7
    tags = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: tags.append(tag)
    parser.feed(card.text.split("## Licences and credits")[1])
    assert tags == []


def test_the_head_is_read_back_as_it_was_written_by_any_reader():
    text = dataset_card(facts_with("CC-BY-4.0: ...\nlicense: mit")).decode()
    head = yaml.safe_load(text.split("\n---\n")[0].removeprefix("---\n"))
    assert head["license_details"] == "CC-BY-4.0: ... license: mit; CC0"
    assert len(list(yaml.safe_load_all(io.StringIO(text.split("\n---\n")[0])))) == 1


def test_a_licence_that_the_hub_lacks_is_named_beside_other():
    card = DatasetCard(dataset_card(facts_with("CC-BY-SA-2.0", "CC-BY-SA-2.0")).decode())
    assert card.data.license == "other" and card.data.to_dict()["license_name"] == "cc-by-sa-2.0"
    assert DatasetCard(dataset_card(facts_with("CC-BY-SA-4.0")).decode()).data.license == "cc-by-sa-4.0" in HUB_LICENCES


def test_only_addresses_of_the_web_become_links():
    assert linked("CC-BY-4.0", "https://example.org/a?b=1") == "[CC-BY-4.0](<https://example.org/a?b=1>)"
    for address in ("javascript:alert(1)", "https://x y", "https://x>)<script>", "https://a\nb", "", "http://"):
        assert linked("a|b", address) == "a\\|b"


def test_sizes_in_the_words_of_the_hub():
    assert [size_category(n) for n in (0, 999, 1000, 10**7)] == ["n<1K", "n<1K", "1K<n<10K", "n>10M"]
