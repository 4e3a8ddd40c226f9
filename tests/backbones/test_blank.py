"""Networks without memory draw no initial values."""

from __future__ import annotations

import torch

from singleshot.backbones.blank import without_memory
from singleshot.backbones.mobilenet_v2 import MobileNetV2Pyramid


def test_nothing_is_drawn_for_a_network_without_memory_and_the_generator_stays_as_it_was() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    with without_memory():
        network = MobileNetV2Pyramid()
        real = torch.zeros(2, device="cpu").fill_(5.0)
    assert all(parameter.is_meta for parameter in network.parameters()) and real.tolist() == [5.0, 5.0]
    assert torch.equal(before, torch.get_rng_state())
