"""The small whole run of ``fault_run`` on a Ray cluster, for ``bench ray`` to kill: ``python -m benchmarks.ray_run SOURCE WORK
ADDRESS``. And a stage that only takes its time.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from benchmarks.fault_run import session_for
from pipeline.app.progress import Display
from pipeline.app.refresh_sources import refresh_sources
from pipeline.core.actor_resources import ActorResources
from pipeline.core.errors import ProcropError
from pipeline.core.stage import Outcome, Shard, Stage, Task
from pipeline.engine.executors.ray.cluster import connect_ray
from pipeline.engine.executors.ray.executor import RayExecutor
from pipeline.engine.runner import Options, run_stages


@dataclass(frozen=True)
class Nap:
    """A row of ``Sleeper``."""

    key: str


class Sleeper(Stage):
    """Ten samples a shard, which take ``seconds`` together."""

    name, record, micro_batch = "sleep", Nap, 1

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def settings(self) -> dict[str, Any]:
        """The time it takes."""
        return {"seconds": self._seconds}

    def tasks(self, shard: Shard) -> list[Task]:
        """Ten of them."""
        return [Task(f"s{shard.number:04d}-{number}", None) for number in range(10)]

    def run(self, tasks: Sequence[Task], shard: Shard) -> list[Outcome]:
        """A nap a sample."""
        time.sleep(self._seconds / 10 * len(tasks))
        return [Outcome.kept(Nap(task.key)) for task in tasks]


def run_all(source: Path, work: Path, quiet: bool = True) -> None:
    """Bring the whole run to its end on the cluster that is joined."""
    session, display = session_for(source, work), Display(quiet=quiet)
    refresh_sources(session, display)
    stages = session.stages
    resources = {stage.name: ActorResources() for stage in stages}
    with RayExecutor(
        session.run, stages, resources=resources, on_event=display.on_event, on_wait=display.message
    ) as executor:
        run_stages(stages, session.run, executor, watcher=display, chain=stages, options=Options())


if __name__ == "__main__":
    try:
        connect_ray(sys.argv[3], 2)
        run_all(Path(sys.argv[1]), Path(sys.argv[2]), quiet=len(sys.argv) < 5)
    except ProcropError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    finally:
        ray.shutdown()
