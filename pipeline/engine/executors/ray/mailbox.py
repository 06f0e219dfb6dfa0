"""The mailbox between the command and its actors: progress goes to the command, the request to stop to the actors."""

from collections import deque

from pipeline.engine.shard_runner import Event


class Mailbox:
    """A Ray actor on the command's own machine, so that it lives as long as the command can reach it.

    It remembers what each shard actor began last, for an actor that dies can no longer report it.
    """

    def __init__(self) -> None:
        self._stopping = False
        self._events: deque[Event] = deque()
        self._begun: dict[str, tuple[str, int, int]] = {}

    def begun(self, actor: str, stage: str, shard: int, start: int) -> bool:
        """An actor works on a shard, on its micro-batch at ``start`` (-1: between micro-batches). Gives whether to stop."""
        self._begun[actor] = (stage, shard, start)
        return self._stopping

    def add_event(self, event: Event) -> bool:
        """A micro-batch is done. Gives whether to stop."""
        self._events.append(event)
        return self._stopping

    def ended(self, actor: str) -> None:
        """An actor works on nothing."""
        self._begun.pop(actor, None)

    def begun_by(self, actor: str) -> tuple[str, int, int] | None:
        """Stage, shard and micro-batch that an actor began and did not end; None for nothing."""
        return self._begun.get(actor)

    def take_events(self) -> list[Event]:
        """The events since the last call."""
        events = list(self._events)
        self._events.clear()
        return events

    def stop(self) -> None:
        """Ask all actors to end after their current micro-batch."""
        self._stopping = True

    def ready(self) -> bool:
        """Whether it can be reached."""
        return True
