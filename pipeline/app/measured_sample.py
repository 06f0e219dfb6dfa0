"""``plan --measure``: seconds and bytes a sample of each stage, from a few canvases made of the run's own photographs."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.app.execute import ExecutionRequest, execute
from pipeline.app.session import open_session
from pipeline.core.errors import ProcropError, UsageError

if TYPE_CHECKING:
    from pipeline.app.progress import Display
    from pipeline.runs.receipts import Receipt
    from stages.recipe import Recipe

PHOTOS, VARIANTS, WORK_SHARDS = 6, 2, 3


def measure_rates(recipe: "Recipe", display: "Display") -> dict[str, tuple[float, float]]:
    """(seconds, bytes) a sample by stage, of one worker that has loaded its models. Everything made is removed.

    The photographs are the first six of the source. Raises UsageError when too few canvases came through to tell.
    """
    body = recipe.model_dump(mode="json")
    variants = min(VARIANTS, recipe.outpaint.variants)
    body["work_shards"] = WORK_SHARDS
    body["ingest"]["limit"] = min(PHOTOS, recipe.ingest.limit or PHOTOS)
    body["outpaint"] |= {"variants": variants, "held_out_variants": variants}
    body["build"] |= {"shards": WORK_SHARDS, "exact": False, "exclude_near": []}
    with tempfile.TemporaryDirectory(prefix="procrop-measure-") as folder:
        config = Path(folder) / "recipe.json"  # JSON is YAML
        config.with_suffix(".yaml").write_text(type(recipe).model_validate(body).model_dump_json(), encoding="utf-8")
        session = open_session(str(config.with_suffix(".yaml")), str(Path(folder) / "work"), None)
        names = [stage.name for stage in session.stages]
        try:
            from pipeline.engine.runner import Options

            done = execute(session, ExecutionRequest(names, workers=1), Options(), display)
        except ProcropError as error:
            raise UsageError(f"--measure: {error}") from error
    return {result.stage: rate_of(result.receipts) for result in done.results}


def rate_of(receipts: "list[Receipt]") -> tuple[float, float]:
    """Seconds and bytes a sample of the fastest shard: the others hold the start of the worker and the loading of models.

    Raises UsageError for receipts without any sample.
    """
    filled = [receipt for receipt in receipts if receipt.n_in]
    if not filled:
        raise UsageError(
            "--measure: no canvas came so far in its sample; run a part with 'run ingest.limit=50' to see why"
        )
    seconds = min(sum(receipt.seconds.values()) / receipt.n_in for receipt in filled)
    written = sum(about["size"] for receipt in filled for about in receipt.outputs.values())
    return seconds, written / sum(receipt.n_in for receipt in filled)
