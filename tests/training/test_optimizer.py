from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from singleshot.training.optimizer import OptimizerConfig, TensorFlowAdam, build, parameter_groups, set_learning_rate


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
