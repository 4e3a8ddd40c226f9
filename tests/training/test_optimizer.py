from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from singleshot.training.optimizer import (
    EMA,
    OptimizerConfig,
    Schedule,
    TensorFlowAdam,
    build,
    factor,
    parameter_groups,
    set_learning_rate,
)


def test_tensorflows_adam_by_hand_for_two_steps() -> None:
    """lr 1, ε 0.1, gradient 2 then 1, worked from the formula with the uncorrected root."""
    weight = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = TensorFlowAdam([weight], lr=1.0, betas=(0.9, 0.999), epsilon=0.1)
    m = v = expected = 0.0
    for t, gradient in enumerate((2.0, 1.0), start=1):
        weight.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        expected -= math.sqrt(1 - 0.999**t) / (1 - 0.9**t) * m / (math.sqrt(v) + 0.1)
        assert weight.item() == pytest.approx(expected, rel=1e-9)
    # The first step alone, with a pencil: √0.001 / 0.1 · 0.2 / (√0.004 + 0.1)
    first = math.sqrt(0.001) / 0.1 * 0.2 / (math.sqrt(0.004) + 0.1)
    assert first == pytest.approx(0.38743, abs=1e-5)


def test_a_small_gradients_first_step_is_about_32_times_smaller_than_torchs() -> None:
    steps = []
    for kind in (torch.optim.Adam, TensorFlowAdam):
        weight = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        weight.grad = torch.tensor([1e-4], dtype=torch.float64)
        options = {"eps": 0.1} if kind is torch.optim.Adam else {"epsilon": 0.1, "betas": (0.9, 0.999)}
        kind([weight], lr=1.0, **options).step()
        steps.append(-weight.item())
    assert steps[0] / steps[1] == pytest.approx(1 / math.sqrt(0.001), rel=1e-2)


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))


def test_biases_learn_twice_as_fast_and_are_not_decayed() -> None:
    module = network()
    groups = parameter_groups(module, OptimizerConfig(lr=0.1, weight_decay=5e-4, bias_lr=2.0))
    by_count = [(len(group["params"]), group["lr"], group["weight_decay"]) for group in groups]
    assert by_count == [(2, 0.1, 5e-4), (1, 0.1, 0.0), (3, 0.2, 0.0)]
    assert sum(len(group["params"]) for group in groups) == len(list(module.parameters()))


def test_frozen_parameters_are_left_out() -> None:
    module = network()
    for parameter in module[0].parameters():  # pyright: ignore[reportIndexIssue]
        parameter.requires_grad_(False)
    assert sum(len(group["params"]) for group in parameter_groups(module, OptimizerConfig())) == 4


def test_a_new_rate_keeps_the_groups_shares() -> None:
    optimizer = build(network(), OptimizerConfig(kind="sgd", lr=0.1))
    set_learning_rate(optimizer, 0.01)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.01, 0.01, 0.02])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("sgd", torch.optim.SGD),
        ("adam", torch.optim.Adam),
        ("adamw", torch.optim.AdamW),
        ("adam-tf1", TensorFlowAdam),
    ],
)
def test_every_kind_takes_a_step_downhill(kind: str, expected: type) -> None:
    module = network()
    optimizer = build(module, OptimizerConfig(kind=kind, lr=0.01))  # pyright: ignore[reportArgumentType]
    assert isinstance(optimizer, expected)
    images = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = module(images).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_the_2017_posts_rate_falls_by_three_percent_an_epoch() -> None:
    schedule = Schedule(kind="exponential", warmup_steps=0, gamma=0.97)
    assert factor(schedule, step=5, epoch=0, progress=0.0) == 1.0
    assert factor(schedule, step=5, epoch=2, progress=0.0) == pytest.approx(0.9409)


def test_cosine_falls_from_one_over_a_half_to_its_floor() -> None:
    schedule = Schedule(kind="cosine", warmup_steps=0, floor=0.0)
    shares = [factor(schedule, step=9, epoch=0, progress=progress) for progress in (0.0, 0.5, 1.0)]
    assert shares == pytest.approx([1.0, 0.5, 0.0])


def test_cosine_stays_at_its_floor_beyond_the_end() -> None:
    assert factor(Schedule(warmup_steps=0), step=9, epoch=0, progress=1.5) == pytest.approx(0.01)


def test_warm_up_rises_in_a_straight_line() -> None:
    schedule = Schedule(kind="constant", warmup_steps=10, warmup_factor=0.1)
    rates = [factor(schedule, step=step, epoch=0, progress=0.0) for step in (0, 5, 10, 11)]
    assert rates == pytest.approx([0.1, 0.55, 1.0, 1.0])
    assert all(math.isfinite(rate) for rate in rates)


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
