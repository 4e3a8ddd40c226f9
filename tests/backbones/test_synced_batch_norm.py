from __future__ import annotations

import torch
from torch import nn

from singleshot.backbones.batch_norm import BatchNorm
from singleshot.backbones.synced_batch_norm import SyncedBatchNorm, synced

# What it computes with several processes is tested in tests/training/test_ranks.py, which starts some.


def test_every_batch_norm_is_replaced_and_weights_and_names_stay() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), BatchNorm(4), nn.Sequential(BatchNorm(4)))
    before = dict(network.state_dict())
    assert synced(network) is network
    assert [type(network[1]), type(network[2][0])] == [SyncedBatchNorm] * 2  # pyright: ignore[reportIndexIssue]
    assert network.state_dict().keys() == before.keys()
    assert all(tensor.data_ptr() == before[name].data_ptr() for name, tensor in network.state_dict().items())


def test_one_process_normalises_as_before_bit_for_bit() -> None:
    torch.manual_seed(0)
    pixels = torch.randn(4, 3, 5, 5)
    plain, shared = BatchNorm(3).train(), synced(nn.Sequential(BatchNorm(3))).train()
    assert torch.equal(plain(pixels), shared(pixels))
    assert torch.equal(plain.running_var, shared[0].running_var)  # pyright: ignore[reportArgumentType]


def test_a_batch_of_one_number_a_channel_is_taken_too() -> None:
    assert synced(nn.Sequential(BatchNorm(3))).train()(torch.randn(1, 3, 1, 1)).isfinite().all()
