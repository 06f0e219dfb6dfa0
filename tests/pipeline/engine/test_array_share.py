"""Whose shards a task of an array has, told by its environment alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import UsageError
from pipeline.engine.array_share import ArrayShare, share_from_environment, waiting_time
from pipeline.runs.status import ranges


def slurm(index, ids, **more):
    told = {"TASK_ID": index, "TASK_MIN": min(ids), "TASK_MAX": max(ids), "TASK_COUNT": len(ids)}
    return {**{f"SLURM_ARRAY_{name}": str(value) for name, value in told.items()}, **more}


@given(st.integers(1, 40), st.integers(1, 200))
def test_every_shard_is_in_exactly_one_share(count, total):
    for environment in (
        lambda index: slurm(index, range(count)),
        lambda index: {"JOB_COMPLETION_INDEX": str(index), "PROCROP_ARRAY_COUNT": str(count)},
    ):
        dealt = [shard for index in range(count) for shard in share_from_environment(environment(index)).of(total)]
        assert sorted(dealt) == list(range(total))


@given(st.sets(st.integers(0, 60), min_size=1))
def test_an_array_of_the_missing_shards_does_at_least_these(missing):
    ids = sorted(missing)
    assert missing <= {shard for index in ids for shard in share_from_environment(slurm(index, ids)).of(61)}, ranges(
        ids
    )


def test_an_array_with_gaps_or_not_from_zero_holds_shard_numbers():
    assert share_from_environment(slurm(7, [3, 7, 9])) == ArrayShare(7) and share_from_environment(slurm(4, [4, 5])).of(
        9
    ) == [4]
    assert share_from_environment(slurm(7, [3, 7, 9], PROCROP_ARRAY_COUNT="16")) == ArrayShare(7, 16)


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, "no task of an array"),
        ({"JOB_COMPLETION_INDEX": "0"}, "PROCROP_ARRAY_COUNT is not"),
        ({"JOB_COMPLETION_INDEX": "4", "PROCROP_ARRAY_COUNT": "4"}, "out of range: PROCROP_ARRAY_COUNT=4 tasks"),
        ({"JOB_COMPLETION_INDEX": "x", "PROCROP_ARRAY_COUNT": "4"}, "want a whole number"),
        ({"SLURM_ARRAY_TASK_ID": "1"}, "SLURM_ARRAY_TASK_MIN=''"),
        (slurm(8, [0, 1, 2]), "out of range: the array goes from 0 to 2"),
        (slurm(8, [0, 8], PROCROP_ARRAY_COUNT="8"), "out of range"),
    ],
)
def test_a_wrong_environment_is_wrong_usage(environment, words):
    with pytest.raises(UsageError, match=words):
        share_from_environment(environment)


def test_a_task_without_any_shard_says_which_array_to_submit():
    with pytest.raises(UsageError, match="use --array=0-7"):
        ArrayShare(8, 12).require_some(8)
    ArrayShare(7, 12).require_some(8)


def test_how_long_to_wait_is_nothing_unless_told():
    assert waiting_time({}) == 0 and waiting_time({"PROCROP_ARRAY_WAIT": "90"}) == 90
    with pytest.raises(UsageError, match="PROCROP_ARRAY_WAIT='soon'"):
        waiting_time({"PROCROP_ARRAY_WAIT": "soon"})
