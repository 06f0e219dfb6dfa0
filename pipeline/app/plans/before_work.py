"""What would stop a run or surprise its user, as far as it can be known before any work: ``run`` and ``plan`` say it alike."""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.app.plans.photo_count import PhotoCount, given_photos, known_photos, listed_photos
from pipeline.app.plans.plan_fleet import PlannedRun
from pipeline.app.plans.run_forecast import forecast_run
from pipeline.core.errors import ModelError, ProcropError, StorageError, UsageError
from pipeline.core.units import size_text
from pipeline.planning.wall_clock import PHOTOS_A_SHARD, Fleet

if TYPE_CHECKING:
    from pipeline.core.stage import Stage
    from pipeline.planning.cost_model import Forecast

CERTAIN, POSSIBLE = 0.5, 1.5  # shares of the forecast's bytes: with less free a run stops, with less it may


@dataclass(frozen=True)
class Foreseen:
    """Something that is known before a run starts.

    Args:
        text: what is wrong or will be, with the fix.
        error: what ``run`` stops with; None where it goes on.
    """

    text: str
    error: type[ProcropError] | None = None


def check_before_work(
    planned: PlannedRun, names: Sequence[str], say: Callable[[str], None], *, list_input: bool = True
) -> "Forecast":
    """Say what is known before any work; gives the forecast.

    Raises UsageError, ModelError or StorageError, with nothing written, for what stops the run.

    Args:
        planned: the run.
        names: stages to be run.
        say: prints a note.
        list_input: list the photographs anew, if they are to be read; else as the run listed them last.
    """
    recipe, run = planned.recipe, planned.run
    listed = listed_photos(recipe) if list_input and "ingest" in names else known_photos(recipe, run) if run else None
    photos = listed or given_photos(recipe, 0)
    forecast, _ = forecast_run(planned, photos, Fleet(1))
    findings = findings_before(planned, [stage for stage in planned.stages if stage.name in names], photos, forecast)
    require_possible(findings)
    for finding in findings:
        say(finding.text)
    return forecast


def findings_before(
    planned: PlannedRun, stages: "Sequence[Stage]", photos: PhotoCount, forecast: "Forecast"
) -> list[Foreseen]:
    """All that is known, in the order in which a user would meet it.

    Args:
        planned: the run.
        stages: to be run.
        photos: how many there are.
        forecast: costs of all stages.
    """
    to_do = [stage for stage in stages if not _is_complete(planned, stage)]
    verbs = {stage.verb for stage in to_do}
    return [
        *_models(to_do),
        *_place(planned),
        *_disk(planned, {stage.name for stage in to_do}, forecast),
        *(_photos(planned, photos) if "ingest" in verbs else ()),
        *(_shards(planned, photos) if "build" in verbs else ()),
    ]


def require_possible(findings: Sequence[Foreseen]) -> None:
    """Raise the error of the first finding that stops a run, with the texts of all that do."""
    stops = [finding for finding in findings if finding.error is not None]
    if stops and stops[0].error is not None:
        raise stops[0].error("; and ".join(finding.text for finding in stops))


def _is_complete(planned: PlannedRun, stage: "Stage") -> bool:
    run = planned.run
    return run is not None and len(run.receipts(stage.name)) == stage.shards(run.plan.work_shards)


def _models(stages: "Sequence[Stage]") -> Iterator[Foreseen]:
    said: set[str] = set()
    for stage in stages:
        try:
            stage.digests()
        except ModelError as error:
            if str(error) not in said:
                said.add(str(error))
                yield Foreseen(f"{stage.verb}: {error}", ModelError)


def _home(planned: PlannedRun) -> Path | None:
    """The run directory, or the nearest folder above it that exists; None for a remote one."""
    home = planned.store.local_root
    while home is not None and not home.exists():
        home = home.absolute().parent
    return home


def _place(planned: PlannedRun) -> Iterator[Foreseen]:
    home = _home(planned)
    if home is not None and not (home.is_dir() and os.access(home, os.W_OK | os.X_OK)):
        yield Foreseen(f"'{home}' cannot be written to: use another --work", StorageError)


def _disk(planned: PlannedRun, names: set[str], forecast: "Forecast") -> Iterator[Foreseen]:
    home = _home(planned)
    if home is None:
        return
    free, needed = shutil.disk_usage(home).free, sum(cost.bytes for cost in forecast.costs if cost.stage in names)
    if free < POSSIBLE * needed:
        stops = free < CERTAIN * needed
        text = f"about {size_text(needed)} are needed and {size_text(free)} are free at '{home}': use another --work"
        yield Foreseen(text, StorageError if stops else None)


def _photos(planned: PlannedRun, photos: PhotoCount) -> Iterator[Foreseen]:
    if not photos.total:
        yield Foreseen(f"no photographs in '{planned.recipe.ingest.source}': give ingest.source=FOLDER", UsageError)
    elif not planned.started and photos.total > 2 * PHOTOS_A_SHARD * planned.recipe.work_shards:
        shards = planned.recipe.work_shards
        yield Foreseen(
            f"work_shards={shards}: {photos.total // shards:,} photographs a shard, of which a stop loses one; give "
            f"work_shards={-(-photos.total // PHOTOS_A_SHARD)}, which is frozen at the start"
        )
    if photos.total and len(photos.splits) < len(photos.wanted):
        missing = ", ".join(name for name in photos.wanted if name not in photos.splits)
        yield Foreseen(
            f"no photograph for {missing}: {photos.total} in all, so 'train' cannot choose its best epoch without val, and 'eval' "
            "has nothing to measure without test; add photographs, or a column 'split' to credits.csv"
        )


def _shards(planned: PlannedRun, photos: PhotoCount) -> Iterator[Foreseen]:
    build, outpaint = planned.recipe.build, planned.recipe.outpaint
    held_out, splits = photos.held_out, len(photos.splits)
    most = (photos.total - held_out) * outpaint.variants + held_out * outpaint.held_out_variants
    if build.shards < splits:
        yield Foreseen(
            f"build.shards={build.shards}: {', '.join(photos.splits)} need a shard each; give build.shards={splits} or more",
            UsageError,
        )
    elif build.shards > most and photos.total:
        text = f"build.shards={build.shards}: {photos.total} photographs give {most} canvases at most"
        if build.exact:
            yield Foreseen(
                f"{text}, so exactly {build.shards} shards cannot be filled; ask for fewer shards or more outpaint.variants",
                UsageError,
            )
        else:
            yield Foreseen(f"{text}, so at most {most} shards are written")
