from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from singleshot.errors import ConfigError
from singleshot.preprocess import Preprocess
from singleshot.pretraining.distillation import Distillation, PretrainConfig, mixed

TARGETS = [((4, 24), (8, 40), (16, 112), (32, 320))]
STUDENT, TEACHER = Preprocess(mean_rgb=(127.5,) * 3, std_rgb=(127.5,) * 3), Preprocess(mean_rgb=(0.0,) * 3)


def crops(count: int = 4) -> torch.Tensor:
    return torch.randint(0, 256, (count, 8, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_both_networks_see_the_same_mixture_of_two_crops() -> None:
    own, other = mixed(crops(), (STUDENT, TEACHER), PretrainConfig(), step=3)
    torch.testing.assert_close(own * 127.5 + 127.5, other, rtol=0, atol=1e-3)
    assert not torch.allclose(own, mixed(crops(), (STUDENT, TEACHER), PretrainConfig(mix=False), step=3)[0])


def test_a_mixture_depends_on_seed_and_step_alone() -> None:
    def first(seed: int, step: int) -> torch.Tensor:
        return mixed(crops(), (STUDENT, TEACHER), PretrainConfig(seed=seed), step)[0]

    assert torch.equal(first(1, 2), first(1, 2))
    assert not torch.equal(first(1, 2), first(1, 3)) and not torch.equal(first(1, 2), first(2, 2))


def test_without_mixing_crops_are_normalised_and_nothing_else() -> None:
    own, other = mixed(crops(), (STUDENT, TEACHER), PretrainConfig(mix=False), step=0)
    assert torch.equal(other, crops().permute(0, 3, 1, 2).float())
    torch.testing.assert_close(own, (other - 127.5) / 127.5)


@pytest.mark.parametrize("backbone", ["residual-fine2", "residual-fine"])
def test_each_level_has_a_loss_and_every_weight_of_the_backbone_learns(backbone: str) -> None:
    network = Distillation(backbone, TARGETS)
    generator = torch.Generator().manual_seed(0)
    maps = [
        torch.randn(2, channels, 64 // stride, 64 // stride, generator=generator) for stride, channels in TARGETS[0]
    ]
    losses = network(torch.randn(2, 3, 64, 64, generator=generator), maps)
    assert list(losses) == ["stride 4", "stride 8", "stride 16", "stride 32"]
    torch.stack(list(losses.values())).sum().backward()
    assert all(each.grad is not None and each.grad.abs().sum() > 0 for each in network.parameters())


def test_a_channel_counts_the_same_whatever_its_scale() -> None:
    torch.manual_seed(0)
    network = Distillation("residual-fine2", TARGETS).eval()
    images = torch.randn(2, 3, 64, 64)
    maps = [torch.randn(2, channels, 64 // stride, 64 // stride) for stride, channels in TARGETS[0]]
    with torch.no_grad():
        plain, scaled = network(images, maps), network(images, [each * 100 + 7 for each in maps])
    for name in plain:
        torch.testing.assert_close(plain[name], scaled[name], rtol=1e-3, atol=1e-4)


def test_a_second_teacher_has_a_level_of_its_own_at_the_stride_that_it_teaches() -> None:
    network = Distillation("residual-fine2", [*TARGETS, [(16, 576)]])
    maps = [torch.randn(2, channels, 64 // stride, 64 // stride) for stride, channels in [*TARGETS[0], (16, 576)]]
    losses = network(torch.randn(2, 3, 64, 64), maps)
    assert list(losses) == ["stride 4", "stride 8", "stride 16", "stride 32", "stride 16, teacher 2"]
    losses["stride 16, teacher 2"].backward()
    assert [each.weight.grad is not None for each in network.projections] == [False] * 4 + [True]
    assert all(each.grad is None for each in network.backbone.stages[-1].parameters())  # stride 32 lies behind it


def test_numbers_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"pretrain\.batch_size"):
        replace(PretrainConfig(), batch_size=1)
