import json
from pathlib import Path

import pytest

from benchmarks.chain import StageCost, costs_by_difference, in_order, main, summed, table, verbs_of
from pipeline.core.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]


def test_a_canvas_costs_what_a_larger_run_takes_more():
    small, large = {"outpaint": 5.0, "filter": 3.0}, {"outpaint": 25.0, "filter": 4.0}
    costs = costs_by_difference((small, 2), (large, 12))
    assert costs == {"outpaint": StageCost(start=1.0, canvas=2.0), "filter": StageCost(start=2.8, canvas=0.1)}
    with pytest.raises(UsageError, match="give more --photos"):
        costs_by_difference((small, 2), (large, 2))


def test_sums_are_those_of_painting_and_of_judging():
    stages = {"ingest": 0.5, "outpaint": 2.0, "perceive": 1.0, "propose": 0.25, "refine": 0.25, "filter": 0.5}
    assert summed(stages) == {**stages, "painting": 2.0, "judging": 2.0, "all": 4.5}


def test_a_stage_that_only_one_checkout_has_stays_in_the_table():
    columns = {"ours": summed({"outpaint": 1.0, "perceive": 0.5}), "older": summed({"outpaint": 3.0})}
    lines = {line.split()[0]: line.split()[1:] for line in table(columns).splitlines()[2:]}
    assert lines["outpaint"] == ["1.0000", "3.0000", "3.00", "times"] and lines["perceive"] == ["0.5000", "-"]
    assert list(lines)[-3:] == ["painting", "judging", "all"]


def test_canvases_are_perceived_after_they_are_painted():
    older = ["ingest", "outpaint", "propose"]
    assert in_order(older) == older
    assert in_order(["ingest", "perceive", "outpaint", "propose"]) == [
        "ingest",
        "perceive",
        "outpaint",
        "perceive",
        "propose",
    ]


def test_wrong_options_are_one_line(tmp_path):
    with pytest.raises(UsageError, match="at least 2"):
        main(["--photos", "1"])
    with pytest.raises(UsageError, match="is no checkout"):
        main(["--against", str(tmp_path)])


def test_the_stages_of_this_checkout_are_measured_in_order():
    verbs = verbs_of(ROOT)
    assert verbs[0] == "ingest" and verbs[-1] == "filter" and verbs.index("outpaint") < verbs.index("propose")


@pytest.mark.long
def test_every_stage_of_two_photographs_is_measured(capsys):
    main(["--photos", "2", "--long-side", "96"])
    result = json.loads(capsys.readouterr().out.splitlines()[-1].removeprefix("RESULT "))
    assert result["bench"] == "chain" and result["unit"] == "CPU s/canvas" and result["start_seconds"]["ours"] > 0
    assert set(result["stages"]["ours"]) >= {"ingest", "outpaint", "refine", "filter", "painting", "judging", "all"}
