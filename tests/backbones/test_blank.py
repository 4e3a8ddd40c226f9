"""Networks without memory draw no initial values."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import singleshot
from singleshot.backbones.blank import without_memory
from singleshot.backbones.mobilenet import MobileNetPyramid
from singleshot.backbones.mobilenet_v2 import MobileNetV2Pyramid
from singleshot.backbones.residual import FINE2, ResidualPyramid
from singleshot.detection.ssd import feature_sizes

PYRAMIDS = {
    "mobilenetv2": MobileNetV2Pyramid,
    "mobilenetv3-large": MobileNetPyramid,
    "residual-fine": ResidualPyramid,
    "residual-fine2": lambda: ResidualPyramid(FINE2),
}


def test_nothing_is_drawn_for_a_network_without_memory_and_the_generator_stays_as_it_was() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    with without_memory():
        network = MobileNetV2Pyramid()
        real = torch.zeros(2, device="cpu").fill_(5.0)
    assert all(parameter.is_meta for parameter in network.parameters()) and real.tolist() == [5.0, 5.0]
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("backbone", ["mobilenetv2", "mobilenetv3-large", "residual-fine", "residual-fine2"])
@pytest.mark.parametrize("size_hw", [(320, 320), (97, 130), (1, 1), (768, 33)])
def test_sizes_by_halvings_are_those_of_the_maps_that_the_network_makes(backbone, size_hw) -> None:
    with without_memory(), torch.no_grad():
        maps = PYRAMIDS[backbone]().eval()(torch.empty(1, 3, *size_hw))
    assert feature_sizes(backbone, "built-in", size_hw) == tuple(tuple(each.shape[2:]) for each in maps)


SCRIPT = """
import sys
import singleshot
from singleshot.detection.ssd import config_for
from singleshot.segmentation import fcn
from singleshot.backbones.blank import without_memory
singleshot.load("everyday", fold=True).predict(sys.argv[1])
with without_memory():
    for name in ("lite320", "lite320-fine", "lite320-fine2"):
        config_for(name, ("car",)).build()
    for name in ("fcn8s-lite", "fcn8s-fine", "fcn8s-fine2"):
        fcn.config_for(name, ("background", "road")).build()
print([each for each in ("torch._dynamo", "torch._inductor", "sympy", "matplotlib") if each in sys.modules])
"""


@pytest.mark.slow
def test_everyday_predicts_and_light_models_are_opened_without_torchs_compiler() -> None:
    """Importing it, and sympy with it, takes longer than the first prediction of such a model."""
    image = Path(singleshot.__file__).parent / "starts" / "cat.jpg"
    done = subprocess.run([sys.executable, "-c", SCRIPT, image], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
