"""The mailbox between the command and its actors: progress goes one way, the wish to stop the other. One an executor."""

from collections import deque
from typing import Any

from pipeline.engine.shard_runner import Event


class Post:
    """An actor on the command's own machine, so that it lives exactly as long as the command can hear it.

    An actor that dies says nothing; what it began last is known here.
    """

    def __init__(self) -> None:
        self._stopping = False
        self._news: deque[Event] = deque()
        self._begun: dict[str, tuple[str, int, int]] = {}

    def begun(self, actor: str, stage: str, shard: int, start: int) -> bool:
        """An actor has a shard in hand, and of it the micro-batch at ``start`` (-1: none). Gives whether to stop."""
        self._begun[actor] = (stage, shard, start)
        return self._stopping

    def tell(self, event: Event) -> bool:
        """A micro-batch is done. Gives whether to stop."""
        self._news.append(event)
        return self._stopping

    def ended(self, actor: str) -> None:
        """An actor has nothing in hand."""
        self._begun.pop(actor, None)

    def in_hand(self, actor: str) -> tuple[str, int, int] | None:
        """Stage, shard and micro-batch that an actor began and did not end; None for nothing."""
        return self._begun.get(actor)

    def news(self) -> list[Event]:
        """What was told since the last call."""
        news = list(self._news)
        self._news.clear()
        return news

    def stop(self) -> None:
        """Ask everybody to end after the micro-batch in hand."""
        self._stopping = True

    def ready(self) -> Any:
        """Whether it can be reached."""
        return True
