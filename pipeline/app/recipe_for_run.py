"""The recipe of a command: the one that it names, or the one that the run directory was made with."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.runs.plan import Plan
    from stages.recipe import Recipe

DEFAULT_CONFIG = "default"
AUTO = "auto"


def recipe_for(config: str, overrides: Sequence[str], plan: "Plan | None" = None) -> "Recipe":
    """The recipe named ``config`` with overrides; without a name, the recipe of the run directory or the default one.

    Raises UsageError for an unknown recipe, an unknown setting or a bad value.
    """
    from pipeline.planning import recipe_files
    from stages.recipe import Recipe

    if config or plan is None:
        data = recipe_files.read_recipe_mapping(config or DEFAULT_CONFIG)
        origin = f"'{config or DEFAULT_CONFIG}'"
    else:
        data, origin = recipe_files.without_removed(plan.config), f"of '{plan.name}' in plan.json"
    return with_kept_batch(recipe_files.parse(Recipe, recipe_files.override(data, overrides, Recipe), origin), plan)


def recipe_of_run(config: str, overrides: Sequence[str], work: str) -> "Recipe":
    """The same for a run directory, which need not exist."""
    from pipeline.runs.plan import load_plan
    from pipeline.storage.open_store import open_store

    return recipe_for(config, overrides, load_plan(open_store(work)))


def with_kept_batch(recipe: "Recipe", plan: "Plan | None") -> "Recipe":
    """The recipe with the batch size that its run measured before, as long as the out-painter is otherwise the same."""
    from pipeline.planning.recipe_files import without_removed

    settings = recipe.models.outpainter.model_dump(mode="json")
    models = without_removed(plan.config).get("models") if plan else None
    stored = models.get("outpainter") if isinstance(models, Mapping) else None
    if not isinstance(stored, Mapping) or settings.get("batch") != AUTO:
        return recipe
    if {**stored, "batch": AUTO} != settings or stored["batch"] == AUTO:
        return recipe
    return with_batch(recipe, int(str(stored["batch"])))


def with_batch(recipe: "Recipe", batch: int) -> "Recipe":
    """The recipe with a number of canvases per batch of the out-painter in place of ``auto``."""
    body = recipe.model_dump(mode="json")
    body["models"]["outpainter"]["batch"] = batch
    return type(recipe).model_validate(body)
