"""The data sheet, and what ``croissant.json`` says in words: what is in the dataset, how it was made, what it is good for."""

import json
from dataclasses import dataclass

from pipeline.core.stage import Tables
from stages.publishing.croissant import DatasetWords
from stages.publishing.dataset_facts import DatasetFacts, render_template

_RECIPE_STAGES = ("ingest", "outpaint", "filter", "build")
PURPOSE = "Training and evaluation of image croppers that find well composed crops."
MADE = (
    "Each photograph was placed on a larger canvas, and a generative model painted its surroundings. The rectangle of the "
    "photograph is a known good crop; further crops were proposed, refined in rounds and filtered by a scorer."
)
BIASES = (
    "The photographs are those of the listed sources; their subjects, places and styles are not balanced.",
    "Crops follow the taste of the photographers and of the scorer.",
)
LIMITS = (
    "Surroundings are painted: horizons and thin lines may end at the frame, textures repeat, and a network can find the seam.",
    "Labels are weak: the rectangle of the photograph is one good crop among others, and no person judged the other crops.",
    "Not meant as a record of real places or events, and not for training models that are to tell real from painted pixels.",
)
PERSONAL = (
    "Photographs may show people. Canvases on which the model painted a face that the photograph does not have were left out; "
    "no person was asked or named beyond the authors of the photographs."
)
MAINTENANCE = (
    "The dataset can be built again from its recipe: the same input gives the same bytes. A photograph is taken out by removing "
    "its file and building again; only the shards that held it change."
)


@dataclass(frozen=True)
class StageSettings:
    """A stage with its settings and models as the receipts record them."""

    stage: str
    version: int
    settings: str
    models: str


def data_sheet(facts: DatasetFacts, tables: Tables) -> bytes:
    """``DATASHEET.md``, after *Datasheets for Datasets* (Gebru et al., 2021), with what the European Union's template for the
    summary of training content asks of synthetic data.
    """
    return render_template(
        "data-sheet.md", facts=facts, recipes=_recipes(tables), purpose=PURPOSE, made=MADE, biases=BIASES, limits=LIMITS,
        personal=PERSONAL, maintenance=MAINTENANCE,
    )  # fmt: skip


def _recipes(tables: Tables) -> list[StageSettings]:
    found = []
    for stage in _RECIPE_STAGES:
        for receipt in tables.receipts(stage)[:1]:
            recipe = receipt.recipe
            settings, models = (json.dumps(recipe[part], ensure_ascii=False) for part in ("settings", "models"))
            found.append(StageSettings(stage, recipe["version"], settings, models))
    return found


def dataset_words(facts: DatasetFacts) -> DatasetWords:
    """The same in the vocabulary of responsible AI (https://docs.mlcommons.org/croissant/docs/croissant-rai-spec.html)."""
    photos = facts.attribution.photos
    lost = "; ".join(f"{stage}: {words}" for stage, _, _, words in facts.funnel)
    return DatasetWords(
        name=facts.name,
        description=f"{facts.total} out-painted canvases of {photos} photographs with {facts.crops} scored crops.",
        licence=_licence_address(facts.verdict.licence),
        responsible={
            "dataCollection": MADE,
            "dataCollectionType": ["Synthetic", "Others"],
            "dataCollectionMissingData": f"Samples that were left out, by stage and reason: {lost}",
            "dataCollectionRawData": "Photographs with the licences and sources of attribution.csv.",
            "dataPreprocessingProtocol": ["Photographs were decoded, turned upright, converted to sRGB and reduced in size."],
            "dataAnnotationProtocol": ["Machine-made crops (x1, y1, x2, y2 in pixels of the canvas) with scores from 0 to 10."],
            "machineAnnotationTools": [f"{role}: {model} ({licence})" for role, model, licence in facts.models],
            "annotationsPerItem": f"{facts.crops / max(1, facts.total):.1f} crops on average",
            "dataUseCases": [PURPOSE],
            "dataBiases": list(BIASES),
            "dataLimitations": list(LIMITS),
            "personalSensitiveInformation": [PERSONAL],
            "dataReleaseMaintenancePlan": MAINTENANCE,
            "hasSyntheticData": True,
        },
    )  # fmt: skip


def _licence_address(licence: str) -> str:
    """The address of a licence's text where the name says it, else its name."""
    family, _, version = licence.rpartition("-")
    if licence == "cc0-1.0":
        return "https://creativecommons.org/publicdomain/zero/1.0/"
    if family.startswith("cc-by"):
        return f"https://creativecommons.org/licenses/{family.removeprefix('cc-')}/{version}/"
    return licence
