from __future__ import annotations

import torch

from singleshot.preprocess import Preprocess
from singleshot.pretraining.distillation import Distillation
from singleshot.pretraining.probe import Probe, make_probe, ridge_r2
from singleshot.pretraining.teachers import EfficientNetLite0, Teacher


def features(rows: int) -> torch.Tensor:
    return torch.randn(rows, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_r2_is_near_1_for_linear_targets_and_at_most_0_for_unrelated_ones() -> None:
    x = features(400)
    other = torch.randn(400, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert ridge_r2(x, x[:, :3] * 5 + 2, 300) > 0.97
    assert -0.2 < ridge_r2(x, other, 300) <= 0.02


def test_a_feature_that_never_changes_does_no_harm() -> None:
    x = features(100)
    x[:, 0] = 3.0
    assert ridge_r2(x, x[:, 1:2], 80) > 0.9


def test_a_probe_leaves_the_backbone_as_it_was() -> None:
    torch.manual_seed(0)
    backbone = Distillation("residual-fine2", [((4, 24), (8, 40), (16, 112), (32, 320))]).train().backbone
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    images = torch.randint(0, 256, (20, 64, 64, 3), dtype=torch.uint8)
    score = Probe(images, torch.randn(20, 3), 15, Preprocess((64, 64)))(backbone)
    assert score <= 1 and backbone.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.state_dict().items())


def test_a_probe_asks_the_teacher_once_for_each_image() -> None:
    teacher = Teacher("lite0", EfficientNetLite0().eval(), Preprocess(mean_rgb=(127.0,) * 3, std_rgb=(128.0,) * 3), {})
    probe = make_probe(torch.zeros(3, 64, 64, 3, dtype=torch.uint8), 2, teacher, Preprocess((64, 64)))
    assert tuple(probe.scores.shape) == (3, 1000) and probe.fitted == 2
