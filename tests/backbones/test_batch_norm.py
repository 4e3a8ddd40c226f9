from __future__ import annotations

import torch
from torch import nn

from singleshot.backbones.batch_norm import BatchNorm


def test_f21_a_batch_of_one_number_a_channel_uses_and_keeps_the_running_statistics() -> None:
    norm = BatchNorm(3).train()
    norm.running_mean = torch.tensor([1.0, 2.0, 3.0])
    out = norm(torch.tensor([1.0, 2.0, 4.0]).reshape(1, 3, 1, 1))
    torch.testing.assert_close(out.flatten(), torch.tensor([0.0, 0.0, 1.0]), rtol=1e-4, atol=1e-4)
    assert norm.running_mean.tolist() == [1.0, 2.0, 3.0]


def test_any_other_batch_is_pytorchs() -> None:
    ours, theirs = BatchNorm(3).train(), nn.BatchNorm2d(3).train()
    features = torch.randn(2, 3, 4, 5)
    torch.testing.assert_close(ours(features), theirs(features))
    torch.testing.assert_close(ours.running_var, theirs.running_var)
    assert list(ours.state_dict()) == list(theirs.state_dict())
