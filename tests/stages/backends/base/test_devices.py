import pytest
import torch

from pipeline.core.errors import ModelError, SampleError
from pipeline.core.stage import WORKER_SLOT
from stages.backends.base.devices import halving, in_batches, pick_device

GPUS = torch.cuda.device_count()


def with_room_for(most):
    """A function that squares, of at most so many items at once, and the sizes of its calls."""
    calls = []

    def run(items):
        calls.append(len(items))
        if len(items) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return [item**2 for item in items]

    return run, calls


def test_auto_gives_each_worker_a_device_in_turn(monkeypatch):
    monkeypatch.setenv(WORKER_SLOT, "3")
    assert pick_device("auto") == (f"cuda:{3 % GPUS}" if GPUS else "cpu")
    assert pick_device("cpu") == "cpu"


@pytest.mark.parametrize(("device", "said"), [("cuda:77", "torch sees"), ("tpu", "give auto, cpu, cuda or cuda:N")])
def test_a_device_that_does_not_exist_is_a_model_error(device, said):
    with pytest.raises(ModelError, match=said):
        pick_device(device)


@pytest.mark.parametrize("most", [1, 2, 3, 8])
def test_a_batch_that_is_too_large_is_halved_and_keeps_its_order(most):
    run, calls = with_room_for(most)
    assert halving(run, list(range(7))) == [item**2 for item in range(7)]
    assert calls[0] == 7 and sum(count for count in calls if count <= most) == 7


def test_one_sample_that_is_too_large_is_rejected():
    run, _ = with_room_for(0)
    with pytest.raises(SampleError, match=r"no memory for one sample: CUDA out of memory$") as error:
        halving(run, [1, 2])
    assert error.value.reason == "out_of_memory"


def test_batches_cover_all_items_in_order():
    run, calls = with_room_for(9)
    assert in_batches(run, list(range(7)), 3) == [item**2 for item in range(7)] and calls == [3, 3, 1]
    assert in_batches(run, [], 3) == []
