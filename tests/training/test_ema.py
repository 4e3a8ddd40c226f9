from __future__ import annotations

import torch
from torch import nn

from singleshot.training.ema import EMA


def test_the_mean_of_a_constant_is_the_constant_and_of_a_step_the_written_formula() -> None:
    network = nn.Linear(1, 1, bias=False)
    nn.init.constant_(network.weight, 1.0)
    ema = EMA(network, decay=0.5)
    ema.update(network)
    assert ema.network.weight.item() == 1.0
    nn.init.constant_(network.weight, 3.0)
    ema.update(network)  # decay min(0.5, 2/11): 1·2/11 + 3·9/11
    torch.testing.assert_close(ema.network.weight, torch.tensor([[29 / 11]]))


def test_running_statistics_follow_and_counters_are_copied() -> None:
    network = nn.BatchNorm2d(2)
    ema = EMA(network, decay=0.0)
    network.train()(torch.randn(4, 2, 3, 3) + 5.0)
    ema.update(network)
    torch.testing.assert_close(ema.network.running_mean, network.running_mean)
    assert ema.network.num_batches_tracked == 1


def test_the_mean_is_never_trained_itself() -> None:
    network = nn.Linear(2, 2)
    ema = EMA(network, decay=0.9)
    assert not any(parameter.requires_grad for parameter in ema.network.parameters())
    assert not ema.network.training
    assert all(parameter.requires_grad for parameter in network.parameters())
