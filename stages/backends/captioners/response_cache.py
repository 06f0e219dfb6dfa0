"""Answers that were paid for once, by content, and what they cost: a rerun asks nothing again and spends nothing twice."""

import json
import os
from pathlib import Path
from typing import Any

from pipeline.core.errors import RefusedError


class AnswerCache:
    """A folder of JSON files shared by all workers. budget: the run stops when the answers in it have cost so much; 0: never."""

    def __init__(self, folder: Path, budget: float) -> None:
        self._folder, self._budget = folder, budget
        self._spent, self._read = 0.0, 0

    def get(self, key: str) -> dict[str, Any] | None:
        """The answer to a question that was asked before."""
        try:
            found: dict[str, Any] = json.loads(self._path(key).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found

    def put(self, key: str, answer: dict[str, Any], cost: float) -> None:
        """Keep an answer and write down what it cost."""
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(f".{os.getpid()}.{os.urandom(4).hex()}")
        aside.write_text(json.dumps(answer), encoding="utf-8")
        aside.replace(path)
        if cost:
            with open(self._ledger, "a", encoding="utf-8") as ledger:  # one short line: appended whole
                ledger.write(f"{cost:.9f}\n")

    @property
    def spent(self) -> float:
        """What all answers have cost so far, by all workers and earlier runs."""
        try:
            with open(self._ledger, encoding="utf-8") as ledger:
                ledger.seek(self._read)
                self._spent += sum(float(line) for line in ledger.read().split())
                self._read = ledger.tell()
        except FileNotFoundError:
            pass
        return self._spent

    def check_budget(self) -> None:
        """Raise RefusedError when the budget is used up. Requests in flight may go beyond it by their own cost."""
        if self._budget and self.spent >= self._budget:
            raise RefusedError(
                f"captions have cost {self.spent:.4f} of models.captioner.budget {self._budget}: raise it, or go on with a "
                "captioner of this machine; the answers so far are kept"
            )

    @property
    def _ledger(self) -> Path:
        return self._folder / "spent.txt"

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.json"
