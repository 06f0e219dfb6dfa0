"""What the command line says of time: of one stage how long it took, of several at once when each was done."""

import re
import time
from types import SimpleNamespace

import pytest

from pipeline.app import progress
from pipeline.app.progress import Display
from pipeline.engine.runner import StageResult
from pipeline.engine.shard_runner import Event
from pipeline.planning.whole_run import Expected


class NoChanges:
    def lines(self) -> list[str]:
        return []

    def __bool__(self) -> bool:
        return False


def result(stage: str, done_now: int = 1) -> StageResult:
    receipt = SimpleNamespace(
        stage=stage, n_in=2, n_kept=2, n_rejected={}, n_failed={}, seconds={}, processor_seconds=3.0
    )
    return StageResult(stage, done_now, 0, [receipt], NoChanges())  # type: ignore[list-item, arg-type]


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


def test_a_rerun_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    display, results = Display(quiet=False), [result("ingest", 0), result("filter", 0)]
    for one in results:
        display.end(one)
    display.finished(results)
    display.processor_time(results)
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "nothing to do: 2 stages done before, 2 of 2 samples kept by filter"


def test_stages_done_before_share_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    display, results = Display(quiet=False), [result("ingest", 0), result("dedup", 0), result("outpaint")]
    for one in results:
        display.end(one)
    display.finished(results)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "already done: ingest, dedup" and lines[1].startswith("outpaint") and len(lines) == 2


def test_plain_lines_count_samples_of_which_stage(monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "PLAIN_EVERY_S", -1.0)
    display = Display(quiet=False)
    display.expect({"ingest": Expected(12, 1.0), "outpaint": Expected(30, 60.0)})
    display.begin("outpaint", 2, 2)
    display.on_event(Event("outpaint", 0, kept=9, rejected=1, failed=0))
    said = capsys.readouterr().err
    assert said.startswith("stage 2 of 2, outpaint (painting): 10 of about 30 samples, kept 9  rejected 1")
    assert re.search(r"about [\d.]+ s left$", said.strip())
