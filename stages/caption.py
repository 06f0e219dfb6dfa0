"""Caption: a photo gets two prompts, for what is within its frame and for what lies beyond it, and a negative one."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType

from pipeline.core.escaping import one_line
from pipeline.core.json_types import JsonObject
from pipeline.core.records import Caption, ImageBytes
from pipeline.core.stage import Outcome, Shard, Stage, Task
from stages.backends.base.protocols import Captioner
from stages.photos.decode import to_array


@dataclass(frozen=True)
class _Photo:
    """The columns of ``Photo`` that are needed."""

    key: str
    title: str


class CaptionStage(Stage[str]):
    """Captions each photo. The payload of a task is the photo's title."""

    name = "caption"
    version = 1
    upstream = ("ingest",)
    reads = MappingProxyType({"ingest": (_Photo, ImageBytes)})
    record = Caption
    micro_batch = 16

    def __init__(self, captioner: Captioner) -> None:
        self._captioner = captioner

    def settings(self) -> JsonObject:
        return {"captioner": self._captioner.name}

    def models(self) -> dict[str, str]:
        return {"captioner": self._captioner.digest}

    def tasks(self, shard: Shard) -> list[Task[str]]:
        return [Task(photo.key, photo.title) for photo in shard.rows("ingest", _Photo)]

    def run(self, tasks: Sequence[Task[str]], shard: Shard) -> list[Outcome]:
        images = [to_array(shard.image("ingest", task.key)) for task in tasks]
        prompts = self._captioner.caption(images, [task.payload for task in tasks])
        return [
            Outcome.kept(Caption(task.key, *map(one_line, (prompt.inside, prompt.beyond, prompt.negative))))
            for task, prompt in zip(tasks, prompts, strict=True)
        ]
