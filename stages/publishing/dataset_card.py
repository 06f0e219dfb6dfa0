"""The card that people read first: ``README.md`` with the metadata that the hub reads."""

import yaml

from pipeline.core.escaping import one_line
from pipeline.core.json_types import JsonObject
from stages.publishing.attribution import LISTED
from stages.publishing.dataset_facts import DatasetFacts, render_template

# Licences that the hub knows by name, of those that ``licences`` can tell (https://hf.co/docs/hub/repositories-licenses).
HUB_LICENCES = frozenset(
    (
        "cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-2.0",
        "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "odbl", "gfdl", "gpl-2.0",
        "gpl-3.0", "unlicense", "pddl", "wtfpl", "mit", "apache-2.0", "bsd-2-clause", "bsd-3-clause", "odc-by", "etalab-2.0",
        "other", "unknown",
    )
)  # fmt: skip
_SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))
_DETAILS = 1000  # characters of the licences' names in the metadata, where lists of strangers could hold any number


def dataset_card(facts: DatasetFacts) -> bytes:
    """The text of the card."""
    head = yaml.safe_dump(card_metadata(facts), sort_keys=False, allow_unicode=True, width=1_000_000)
    body = render_template("dataset-card.md", facts=facts, listed=LISTED)
    return f"---\n{head}---\n\n".encode() + body


def card_metadata(facts: DatasetFacts) -> JsonObject:
    """The YAML at the head of the card."""
    whole = facts.verdict.licence
    licence: JsonObject = {"license": whole} if whole in HUB_LICENCES else {"license": "other", "license_name": whole}
    return {
        "pretty_name": facts.name,
        **licence,
        "license_details": "; ".join(one_line(name) for name in facts.licences)[:_DETAILS],
        "annotations_creators": ["machine-generated"],
        "task_categories": ["object-detection"],
        "size_categories": [size_category(facts.total)],
        "tags": ["image-cropping", "aesthetics", "out-painting", "synthetic", "webdataset", "croissant"],
        "configs": [
            {
                "config_name": "default",
                "data_files": [
                    {"split": "validation" if split == "val" else split, "path": f"shards/{facts.name}-{split}-*.tar"}
                    for split in facts.splits
                ],
            }
        ],
    }


def size_category(samples: int) -> str:
    """The hub's word for a number of samples."""
    return next((word for limit, word in _SIZES if samples < limit), "n>10M")
