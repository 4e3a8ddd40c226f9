"""Each published recipe's loss and optimizer against numbers worked by hand from its source.

One scene serves all: three objects, of which two want the same anchor and the third overlaps none by half, beside an
image without objects. The rules of Caffe, torchvision and the posts of 2017 differ on just that.

    object  class  box                  anchors      IoU with G0   G1      G2
    G0      0      0, 0, .4, .4         a0 (h .36)       .9        .833    0
    G1      1      0, 0, .4, .3         a1 (h .2)        .5        .667    0
    G2      0      .6, .6, .7, .7       a2 (side .3)     0         0       .111
"""

from __future__ import annotations

import importlib
import math

import pytest
import torch
from torch import nn

from singleshot import boxes
from singleshot.detection.coding import RawDetections
from singleshot.detection.loss import AnchorTargets, dense_losses, multibox_loss
from singleshot.detection.ssd import SSD, config_for
from singleshot.training.optimizer import build, factor, parameter_groups, set_learning_rate
from singleshot.training.recipe import Recipe

OBJECTS = torch.tensor([[0, 0, 0.4, 0.4], [0, 0, 0.4, 0.3], [0.6, 0.6, 0.7, 0.7]])
CLASSES = torch.tensor([0, 1, 0])
# Twelve anchors far from everything, for negatives.
FAR = [[0.04 * i, 0.75, 0.04 * i + 0.03, 0.78] for i in range(12)]
ANCHORS = boxes.xyxy_to_cxcywh(torch.tensor([[0, 0, 0.4, 0.36], [0, 0, 0.4, 0.2], [0.6, 0.6, 0.9, 0.9], *FAR]))
LOG_SUM = math.log(1 + math.e + math.e**2)
"""Of the logits (0, 1, 2) of a0, a1 and a2: an object of class 0 costs LOG_SUM − 1, one of class 1 LOG_SUM − 2."""
A0_G0 = 0.5 * (0.02 / 0.36 / 0.1) ** 2 + 0.5 * (math.log(0.4 / 0.36) / 0.2) ** 2
A0_G1 = 0.5 * (0.03 / 0.36 / 0.1) ** 2 + 0.5 * (math.log(0.3 / 0.36) / 0.2) ** 2
A1_G1 = (0.05 / 0.2 / 0.1 - 0.5) + (math.log(1.5) / 0.2 - 0.5)
A2_G2 = 2 * (0.1 / 0.3 / 0.1 - 0.5) + 2 * (math.log(3) / 0.2 - 0.5)


def negatives(count: int) -> float:
    """The loss of the hardest of the far anchors, whose logits are (0, z, z) with z = 0 … 11."""
    return sum(math.log(1 + 2 * math.exp(z)) for z in range(12 - count, 12))


EXPECTED = {
    # Bipartite: a0–G0, a1–G1, a2–G2. Three matches, nine negatives, divided by the batch's matches.
    "caffe": (
        [0, 1, 2],
        (3 * LOG_SUM - 1 - 2 - 1 + negatives(9)) / 3,
        (A0_G0 + A1_G1 + A2_G2) / 3,
    ),
    # Force-best: the later of two objects takes the anchor that both want, and G0 is not trained.
    "torchvision": (
        [1, 1, 2],
        (3 * LOG_SUM - 2 - 2 - 1 + negatives(9)) / 3,
        (A0_G1 + A1_G1 + A2_G2) / 3,
    ),
    # IoU > 0.5 alone: G2 is not trained; each image is divided by its own matches, then the mean of two images.
    "2017": ([0, 1, -1], (2 * LOG_SUM - 1 - 2 + negatives(6)) / 2 / 2, (A0_G0 + A1_G1) / 2 / 2),
}
GOLDEN = {"caffe": (24.16672, 6.49107), "torchvision": (23.83339, 6.64762), "2017": (14.24401, 0.95510)}
"""The same in numbers: class loss and box loss."""
RULES = {
    "ssd300_voc0712": "caffe",
    "ssd512_voc0712": "caffe",
    "ssd300_coco": "caffe",
    "lite320_coco": "torchvision",
    "ssd300_2017": "2017",
}


def recipe(name: str) -> Recipe:
    return importlib.import_module(f"singleshot.recipes.{name}").RECIPE


@pytest.mark.parametrize("name", RULES)
def test_the_loss_is_that_of_the_source(name: str) -> None:
    assignments, class_loss, box_loss = EXPECTED[RULES[name]]
    assert (class_loss, box_loss) == pytest.approx(GOLDEN[RULES[name]], abs=1e-5)
    config = recipe(name).loss
    boxes_cxcywh = torch.stack([boxes.xyxy_to_cxcywh(OBJECTS), torch.zeros(3, 4)])
    class_ids = torch.stack([CLASSES, torch.full((3,), -1)])
    present = class_ids >= 0
    matched = config.matcher(ANCHORS).match_batch(boxes_cxcywh, present)
    assert matched[0].tolist() == [*assignments, *[-1] * 12] and matched[1].tolist() == [-1] * 15
    far = torch.stack([torch.tensor([0.0, z, z]) for z in range(12)])
    logits = torch.cat([torch.tensor([0.0, 1, 2]).repeat(3, 1), far]).repeat(2, 1, 1)
    raw = RawDetections(logits, torch.zeros(2, 15, 4))
    found = multibox_loss(raw, ANCHORS, boxes_cxcywh, class_ids, matched, config)
    assert found["class"].item() == pytest.approx(class_loss, rel=1e-6)
    assert found["box"].item() == pytest.approx(box_loss, rel=1e-5)
    mean = (matched >= 0).sum() / 2
    targets = AnchorTargets(ANCHORS, boxes_cxcywh, class_ids, matched)
    per_image = dense_losses(raw, targets, config, mean_matches=mean)
    assert per_image[0][1] == 0 == per_image[1][1]  # the image without objects


class Three(nn.Module):
    """A weight, the scale of an L2 norm, and a bias, all 1."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, 1))
        self.scale = nn.Parameter(torch.ones(1))
        self.bias = nn.Parameter(torch.ones(1))


def sgd(lr: float, decay: float, momentum: float = 0.9) -> tuple[float, float]:
    """Two steps from 1 with a gradient of 0.5, at the base rate."""
    velocity = 0.5 + decay
    first = 1 - lr * velocity
    velocity = momentum * velocity + 0.5 + decay * first
    return first, first - lr * velocity


def adam_2017(decay: float) -> tuple[float, float]:
    """Two steps of TensorFlow 1's Adam: lr · √(1 − β2^t) / (1 − β1^t) · m / (√v + 0.1)."""
    value, m, v, values = 1.0, 0.0, 0.0, []
    for t in (1, 2):
        gradient = 0.5 + decay * value
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        value -= 1e-3 * math.sqrt(1 - 0.999**t) / (1 - 0.9**t) * m / (math.sqrt(v) + 0.1)
        values.append(value)
    return values[0], values[1]


CAFFE = {"weight": sgd(1e-3, 5e-4), "scale": sgd(1e-3, 5e-4), "bias": sgd(2e-3, 0.0)}
STEPS = {
    "ssd300_voc0712": CAFFE,
    "ssd512_voc0712": CAFFE,
    "ssd300_coco": CAFFE,
    "lite320_coco": dict.fromkeys(("weight", "scale", "bias"), sgd(0.15, 4e-5)),
    "ssd300_2017": {"weight": adam_2017(5e-4), "scale": adam_2017(0.0), "bias": adam_2017(0.0)},
}


def test_the_first_steps_worked_by_hand() -> None:
    assert CAFFE["weight"][0] == 1 - 0.001 * (0.5 + 0.0005) == pytest.approx(0.9994995)
    assert CAFFE["bias"][0] == 0.999 and CAFFE["bias"][1] == pytest.approx(0.999 - 0.002 * 0.95)
    assert STEPS["lite320_coco"]["bias"][0] == pytest.approx(0.924994)


@pytest.mark.parametrize("name", RULES)
def test_two_steps_of_the_optimizer_are_those_of_the_source(name: str) -> None:
    network = Three()
    optimizer = build(network, recipe(name).optimizer)
    set_learning_rate(optimizer, recipe(name).optimizer.lr)
    for step in range(2):
        for parameter in network.parameters():
            parameter.grad = torch.full_like(parameter, 0.5)
        optimizer.step()
        for part, values in STEPS[name].items():
            assert network.get_parameter(part).item() == pytest.approx(values[step], abs=3e-7), (part, step)


@pytest.mark.parametrize("name", ["ssd300_voc0712", "ssd512_voc0712", "ssd300_coco"])
def test_caffes_recipes_decay_the_scale_of_the_l2_norm_and_no_bias(name: str) -> None:
    with torch.device("meta"):
        network = SSD(config_for(recipe(name).model, ("cat",)))
    decays = _decays(network, recipe(name))
    assert decays["trunk.conv4_3_norm.scale"] == 5e-4
    assert {decay for part, decay in decays.items() if part.endswith("bias")} == {0.0}
    assert {decay for part, decay in decays.items() if not part.endswith("bias")} == {5e-4}


def test_torchvisions_recipe_decays_everything() -> None:
    with torch.device("meta"):
        network = SSD(config_for("lite320", ("cat",)))
    assert set(_decays(network, recipe("lite320_coco")).values()) == {4e-5}


def _decays(network: nn.Module, chosen: Recipe) -> dict[str, float]:
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    groups = parameter_groups(network, chosen.optimizer)
    return {names[id(each)]: group["weight_decay"] for group in groups for each in group["params"]}


@pytest.mark.parametrize(
    ("name", "rates"),
    [
        ("ssd300_voc0712", {0: 1e-3, 79_999: 1e-3, 80_000: 1e-4, 100_000: 1e-5, 119_999: 1e-5}),
        ("ssd512_voc0712", {0: 1e-3, 79_999: 1e-3, 80_000: 1e-4, 100_000: 1e-5}),
        ("ssd300_coco", {0: 1e-3, 279_999: 1e-3, 280_000: 1e-4, 360_000: 1e-5}),
        ("lite320_coco", {0: 0.15e-3, 1000: 0.15, 200_000: 0.075, 400_000: 0.0}),
    ],
)
def test_the_rate_follows_the_sources_schedule(name: str, rates: dict[int, float]) -> None:
    chosen = recipe(name)
    total = chosen.steps or 400_000
    for step, rate in rates.items():
        found = factor(chosen.schedule, step=step, epoch=0, progress=step / total) * chosen.optimizer.lr
        assert found == pytest.approx(rate, rel=2e-4, abs=1e-12), step
