"""Signals as a flag: the step in hand is finished first."""

import signal
import threading
from types import FrameType, TracebackType


class StopFlag:
    """Within ``with``, SIGINT and SIGTERM only set ``raised``. Outside the main thread signals are left alone."""

    def __init__(self) -> None:
        self.raised = False
        self._before: dict[int, signal.Handlers | object] = {}

    def __enter__(self) -> "StopFlag":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._raise)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _raise(self, number: int, frame: FrameType | None) -> None:
        self.raised = True
