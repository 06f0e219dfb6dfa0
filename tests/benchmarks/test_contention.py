import json

import pytest

from benchmarks.contention import MOST, main
from pipeline.core.errors import ProcropError


@pytest.mark.long
def test_two_croppers_are_compared_with_one_alone(capsys):
    main(["--photos", "1", "--rounds", "1"])
    *lines, last = capsys.readouterr().out.splitlines()
    result = json.loads(last.removeprefix("RESULT "))
    assert result["bench"] == "contention" and result["most"] == MOST and set(result["peers"]) == {"active"}
    assert result["ours"] > 0.5 and result["env"]["photos"] == 1
    assert {name: len(times["two"]) for name, times in result["seconds"].items()} == {"ours": 1, "active": 1}
    assert [line.partition(":")[0] for line in lines] == ["OMP_WAIT_POLICY=PASSIVE", "OMP_WAIT_POLICY=ACTIVE"]


def test_a_cropper_that_fails_is_an_error():
    with pytest.raises(ProcropError, match="procrop-data crop ended with 2"):
        main(["--photos", "0", "--rounds", "1"])
