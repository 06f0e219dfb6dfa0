"""What the command line says of time: of one stage how long it took, of several at once when each was done."""

import re
import time
from types import SimpleNamespace

import pytest

from pipeline.app.progress import Display
from pipeline.engine.runner import StageResult


class NoChanges:
    def lines(self) -> list[str]:
        return []

    def __bool__(self) -> bool:
        return False


def result(stage: str) -> StageResult:
    receipt = SimpleNamespace(
        stage=stage, n_in=2, n_kept=2, n_rejected={}, n_failed={}, seconds={}, processor_seconds=3.0
    )
    return StageResult(stage, 1, 0, [receipt], NoChanges())  # type: ignore[list-item, arg-type]


def seconds_of(text: str, stage: str) -> float:
    (found,) = re.findall(rf"{stage} +2 of 2 kept  (?:done after )?([\d.]+) s", text)
    return float(found)


def test_stages_in_hand_together_tell_when_each_was_done(capsys: pytest.CaptureFixture[str]) -> None:
    display = Display(quiet=False)
    display.begin("ingest", 1, 1)
    display.begin("outpaint", 1, 1)
    display.shard_done(result("ingest").receipts[0])
    time.sleep(0.3)
    display.shard_done(result("outpaint").receipts[0])
    display.end(result("ingest"))
    display.end(result("outpaint"))
    said = capsys.readouterr().err
    assert said.count("done after") == 2
    assert seconds_of(said, "ingest") + 0.2 < seconds_of(said, "outpaint")


def test_a_stage_alone_tells_its_whole_time(capsys: pytest.CaptureFixture[str]) -> None:
    display = Display(quiet=False)
    for stage in ("filter", "build"):
        display.begin(stage, 1, 1)
        display.shard_done(result(stage).receipts[0])
        time.sleep(0.2)  # its epilogue
        display.end(result(stage))
    said = capsys.readouterr().err
    assert "done after" not in said
    assert seconds_of(said, "build") >= 0.2


def test_processor_time_is_printed_a_canvas(capsys: pytest.CaptureFixture[str]) -> None:
    Display(quiet=False).processor_time([result("ingest")])
    assert capsys.readouterr().err == ""  # nothing was painted
    Display(quiet=False).processor_time([result("ingest"), result("outpaint")])
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[:2] for line in lines] == [["ingest", "1.500"], ["outpaint", "1.500"]]
    Display(quiet=True).processor_time([result("outpaint")])
    assert capsys.readouterr().err == ""
