"""Responses of a paid endpoint, kept by content, with what they cost: a rerun sends no request twice."""

import json
import os
from pathlib import Path
from threading import Lock

from pipeline.core.errors import RefusedError

_COUNTING = Lock()


class ResponseCache:
    """A folder of JSON files shared by all workers.

    Args:
        folder: of the responses and of ``spent.txt``, one cost a line.
        budget: the run stops when the responses in the folder have cost so much; 0 for no limit.
    """

    def __init__(self, folder: Path, budget: float) -> None:
        self._folder, self._budget = folder, budget
        self._spent, self._read = 0.0, 0

    def get(self, key: str) -> dict[str, str] | None:
        """The response kept under a key, or None."""
        try:
            response: dict[str, str] = json.loads(self._path(key).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return response

    def put(self, key: str, response: dict[str, str], cost: float) -> None:
        """Keep a response and record its cost."""
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(f".{os.getpid()}.{os.urandom(4).hex()}")
        aside.write_text(json.dumps(response), encoding="utf-8")
        aside.replace(path)
        if cost:
            with open(self._costs, "a", encoding="utf-8") as costs:  # one short line: appended whole
                costs.write(f"{cost:.9f}\n")

    @property
    def spent(self) -> float:
        """What all responses have cost so far, in all workers and earlier runs."""
        with _COUNTING:  # threads that read the same lines at once would count them twice
            try:
                with open(self._costs, "rb") as costs:
                    costs.seek(self._read)
                    text, newline, _ = costs.read().rpartition(b"\n")
            except FileNotFoundError:
                return self._spent
            self._spent += sum(float(line) for line in text.split())
            self._read += len(text) + len(newline)
            return self._spent

    def check_budget(self) -> None:
        """Raise RefusedError when the budget is used up. Requests in flight may exceed it by their own cost."""
        if self._budget and self.spent >= self._budget:
            raise RefusedError(
                f"captions have cost {self.spent:.4f} of models.captioner.budget {self._budget}: raise it, or go on with a "
                "captioner of this machine; the answers so far are kept"
            )

    @property
    def _costs(self) -> Path:
        return self._folder / "spent.txt"

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.json"
