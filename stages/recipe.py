"""The recipe as one list: the stages in their order, here and nowhere else."""

from typing import Annotated, Literal

from pydantic import Field, SerializeAsAny, model_validator

from pipeline.core.actor_resources import ActorResources
from pipeline.core.records import CANVAS, PHOTO
from pipeline.core.settings import Settings
from pipeline.core.stage import Stage
from stages.backends.base.plugin_code import PluginCode
from stages.backends.registry import Models, ModelSettings, models_of
from stages.build import Build, BuildSettings
from stages.caption import CaptionStage
from stages.dedup import Dedup
from stages.embed import Embed, EmbedSettings
from stages.filter import Filter, FilterSettings
from stages.ingest import Ingest, IngestSettings
from stages.outpaint import Outpaint, OutpaintSettings
from stages.perceive import Perceive, PerceiveSettings
from stages.plugin_stages import PLUGIN_STAGE, PluginStageSettings, credit_of, with_plugins
from stages.propose import Propose, ProposeSettings
from stages.refine import RefineRound, RefineSettings, round_name
from stages.retrieve import Retrieve, RetrieveSettings
from stages.training.cropper_settings import TrainSettings

Verb = Literal[
    "ingest", "perceive", "dedup", "caption", "outpaint", "propose", "refine", "filter", "build", "embed", "retrieve"
]  # fmt: skip


class Recipe(Settings):
    """A whole configuration: settings of the models and of each stage.

    Args:
        name: of the run.
        seed: of everything that is drawn; frozen in ``plan.json``.
        work_shards: number of shards of each stage but the last; frozen in ``plan.json``.
        max_rejected: share of its samples that a stage may reject; beyond it a command ends with exit code 3. ``ingest`` is not
            counted: a folder may hold anything.
        models: backends by role.
        train: of the cropper.
        stages: of other packages, each with its ``kind``, which run beside the recipe's own.
        ray: resources of one actor by stage, where they differ from the defaults.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9_-]+$")]
    seed: Annotated[int, Field(ge=0)] = 0
    work_shards: Annotated[int, Field(ge=1, le=100_000)] = 8
    max_rejected: Annotated[float, Field(gt=0, le=1)] = 0.95
    models: ModelSettings = ModelSettings()
    ingest: IngestSettings = IngestSettings()
    perceive: PerceiveSettings = PerceiveSettings()
    outpaint: OutpaintSettings = OutpaintSettings()
    propose: ProposeSettings = ProposeSettings()
    refine: RefineSettings = RefineSettings()
    filter: FilterSettings = FilterSettings()
    build: BuildSettings = BuildSettings()
    embed: EmbedSettings = EmbedSettings()
    retrieve: RetrieveSettings = RetrieveSettings()
    train: TrainSettings = TrainSettings()
    stages: tuple[Annotated[SerializeAsAny[PluginStageSettings], PLUGIN_STAGE], ...] = ()
    ray: dict[Verb, ActorResources] = Field(default_factory=dict)

    @property
    def plugins(self) -> dict[str, PluginCode]:
        """Key of the recipe -> code of the plug-in that it names."""
        stages = {f"stages.{number}": chosen.code for number, chosen in enumerate(self.stages)}
        models = {f"models.{role}": chosen.code for role, chosen in self.models.plugins.items()}
        proposer = {"refine.proposer": self.refine.proposer.code} if self.refine.proposer else {}
        return {**models, **proposer, **stages}

    @model_validator(mode="after")
    def _named_alike(self) -> "Recipe":
        if self.filter.max_crops > self.refine.beam:
            raise ValueError(f"filter.max_crops {self.filter.max_crops} exceeds refine.beam {self.refine.beam}")
        return self


def stages_of(recipe: Recipe) -> list[Stage]:
    """The stages of a recipe in order. Training reads what they leave and is not sharded, so it is not among them."""
    return stages_with(recipe, models_of(recipe.models))


def stages_with(recipe: Recipe, models: Models) -> list[Stage]:
    """The same around models that are built already."""
    credits = [*models.credits(), *(credit_of(chosen) for chosen in recipe.stages)]
    own: list[Stage] = [
        Ingest(recipe.ingest),
        Perceive(PHOTO, recipe.perceive, models.segmenter, models.encoder, faces=models.faces),
        Dedup(),
        CaptionStage(models.captioner),
        Outpaint(recipe.outpaint, models.outpainter, models.composer),
        Perceive(CANVAS, recipe.perceive, models.segmenter, models.encoder, models.scorer, models.faces),
        Propose(recipe.propose),
        *(
            RefineRound(number, recipe.refine, models.scorer, recipe.refine.box_proposer())
            for number in range(1, recipe.refine.rounds + 1)
        ),
        Filter(recipe.filter, round_name(recipe.refine.rounds)),
        Build(recipe.build, models.scorer, models.encoder, credits),
        Embed(recipe.embed),
        Retrieve(recipe.retrieve, models.encoder, recipe.models.encoder.model_dump(mode="json")),
    ]
    return with_plugins(own, recipe.stages)
