"""How far a run is as a whole: which stage of how many, and how much time is left, from what was expected of each stage."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.core.stage import verb_of
from pipeline.core.units import duration_text

WORDS = {
    "ingest": "reading", "perceive": "looking at", "dedup": "comparing", "caption": "describing", "outpaint": "painting",
    "propose": "proposing crops", "refine": "scoring crops", "filter": "choosing crops", "build": "writing shards",
    "embed": "storing features", "retrieve": "finding references",
}  # fmt: skip
LEAST_SHARE = 0.02  # of the run, below which no time left is shown: the first samples load the models


@dataclass(frozen=True)
class Expected:
    """What is expected of a stage: samples that come in, and seconds of one worker."""

    samples: int
    seconds: float


class WholeRun:
    """The stages of a run in order, and what is done of them.

    Args:
        expected: by stage, in order; empty where nothing is known.
    """

    def __init__(self, expected: Mapping[str, Expected]) -> None:
        self._expected = dict(expected)
        self._to_do = {name: 1.0 for name in expected}  # share of the stage's shards that this run does
        self._done = {name: 0.0 for name in expected}  # samples
        self._started = time.monotonic()

    @property
    def known(self) -> bool:
        """Whether anything is expected."""
        return bool(self._expected)

    def begin(self, stage: str, to_do: float) -> int:
        """A stage begins, of which this share is to do. Gives the samples that are expected of that; 0 if unknown."""
        if stage not in self._expected:
            return 0
        self._to_do[stage] = to_do
        return round(self._expected[stage].samples * to_do)

    def advance(self, stage: str, samples: int) -> None:
        """Samples of a stage are done."""
        if stage in self._done:
            self._done[stage] += samples

    def end(self, stage: str) -> None:
        """A stage is complete, with however many samples."""
        if stage in self._done:
            self._done[stage] = float("inf")

    def title(self, stage: str) -> str:
        """For example ``stage 5 of 14, outpaint (painting)``."""
        word = f" ({WORDS[verb_of(stage)]})" if verb_of(stage) in WORDS else ""
        if stage not in self._expected:
            return f"{stage}{word}"
        number = list(self._expected).index(stage) + 1
        return f"stage {number} of {len(self._expected)}, {stage}{word}"

    @property
    def share(self) -> float:
        """Share of the expected work that is done, 0 to 1."""
        work = done = 0.0
        for name, expected in self._expected.items():
            seconds, samples = expected.seconds * self._to_do[name], expected.samples * self._to_do[name]
            work += seconds
            done += seconds * (min(1.0, self._done[name] / samples) if samples else 1.0)
        return done / work if work else 0.0

    def left_text(self) -> str:
        """The time left, as ``about 3 min 20 s left``; empty before enough is done."""
        share = self.share
        if share < LEAST_SHARE:
            return ""
        passed = time.monotonic() - self._started
        return f"about {duration_text(passed * (1 - share) / share)} left"
