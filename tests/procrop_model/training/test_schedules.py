"""Learning-rate schedules and the moving average of weights."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from procrop_model.training.schedules import MovingAverage, cosine_with_warmup, in_steps


def test_cosine_rises_then_falls_to_its_floor() -> None:
    rates = [cosine_with_warmup(step, 100, 0.1) for step in range(101)]
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert rates[10] == pytest.approx(1.0)
    assert all(a >= b for a, b in pairwise(rates[10:]))
    assert rates[100] == pytest.approx(0.02)


def test_steps_divide_the_rate_by_ten_at_each_drop() -> None:
    rates = [in_steps(step, 100, 0.0, (0.5, 0.8)) for step in (0, 49, 50, 79, 80, 99)]
    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def layer(value: float) -> nn.Linear:
    module = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        module.weight.fill_(value)
    return module


def test_the_first_updates_of_an_average_are_fast() -> None:
    network = layer(0.0)
    average = MovingAverage(network, decay=0.99)
    with torch.no_grad():
        network.weight.fill_(1.0)
    average.update(network)
    torch.testing.assert_close(average.shadow["weight"], torch.tensor([[0.9, 0.9]]))


def test_swapping_twice_restores_the_weights() -> None:
    network = layer(1.0)
    average = MovingAverage(network, decay=0.5)
    average.shadow["weight"].fill_(3.0)
    average.swap(network)
    assert network.weight.unique().item() == 3.0
    average.swap(network)
    assert network.weight.unique().item() == 1.0


def test_a_restored_average_continues_identically() -> None:
    network, fresh = layer(1.0), layer(0.0)
    average = MovingAverage(network, decay=0.9)
    average.shadow["weight"].fill_(0.25)
    average.update(network)
    again = MovingAverage(fresh, decay=0.9)
    again.restore(average.state())
    average.update(network)
    again.update(network)
    assert torch.equal(average.shadow["weight"], again.shadow["weight"])
    assert average.updates == again.updates == 2


def test_frozen_parameters_are_not_averaged() -> None:
    assert MovingAverage(layer(1.0).requires_grad_(False), 0.9).shadow == {}
