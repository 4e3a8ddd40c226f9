"""Our training step on random images with a few boxes, or masks: the step of `singleshot train`, without a loader.

The network's values play no part in its time, so it starts from nothing and learns at a rate of almost 0, which keeps
every step finite.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from singleshot.classes import VOC
from singleshot.detection.ssd import SSD
from singleshot.recipes import ssd300_voc0712
from singleshot.structures import Batch, BoxTargets
from singleshot.training.criterion import Criterion, DetectionCriterion, SegmentationCriterion
from singleshot.training.devices import Precision, open_fabric
from singleshot.training.load_pretrained import new_network
from singleshot.training.ranks import Ranks
from singleshot.training.recipe import Recipe
from singleshot.training.step import TrainingStep

BOXES = 3


def arguments_of(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The options that all of these scripts have; torch's threads are set."""
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", default="bf16", choices=("fp32", "bf16"))
    parser.add_argument("--size", type=int, help="side of the input, for a quick try (the model's own)")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    return chosen


def recipe(model: str, batch_size: int, precision: Precision, size: int | None) -> Recipe:
    """The reference's, on random data."""
    base = ssd300_voc0712.RECIPE
    changed = {"weights": None, "model": model, "batch_size": batch_size, "precision": precision, "train_subset": 0}
    return replace(
        base,
        optimizer=replace(base.optimizer, lr=1e-7),
        input_size_hw=None if size is None else (size, size),
        workers=0,
        **changed,
    )


def step(chosen: Recipe, change: Callable[[Any], None] | None = None) -> Callable[[], None]:
    """A call that takes one training step on the CPU and insists that it was taken.

    Args:
        chosen: the recipe.
        change: is given the network before anything is built on it.
    """
    training = training_step(chosen, change=change)
    given = batch(chosen.batch_size, training.network.config.input_size_hw)

    def call() -> None:
        if not training(given).finite:
            raise RuntimeError("the step was not taken")

    return call


def training_step(chosen: Recipe, device: str = "cpu", change: Callable[[Any], None] | None = None) -> TrainingStep:
    """The step of a recipe on a device, from random weights that are the same on each."""
    torch.manual_seed(0)
    network = new_network(chosen, VOC).network
    if change is not None:
        change(network)
    fabric = open_fabric(precision=chosen.precision, device=device)
    if isinstance(network, SSD):
        criterion: Criterion = DetectionCriterion(network, chosen.loss)
    else:
        criterion = SegmentationCriterion(chosen.pixel_loss)
    training = TrainingStep(network, criterion, chosen, fabric, Ranks(fabric), print)
    training.network.train()
    return training


def batch(count: int, size_hw: tuple[int, int], seed: int = 0, *, masks: bool = False) -> Batch[Any]:
    """Random images with three boxes each, a fifth to a half of the side; or with a mask of random classes."""
    rng, (height, width) = np.random.default_rng(seed), size_hw
    sides = rng.uniform(0.2, 0.5, (count, BOXES, 2))
    corners = rng.uniform(0.0, 0.5, (count, BOXES, 2))
    boxes = np.concatenate([corners, corners + sides], axis=2) * (width, height, width, height)
    images = torch.from_numpy(rng.integers(0, 256, (count, height, width, 3), dtype=np.uint8))
    targets: Any = BoxTargets(
        torch.from_numpy(boxes.astype(np.float32)), torch.from_numpy(rng.integers(0, len(VOC), (count, BOXES)))
    )
    if masks:
        targets = torch.from_numpy(rng.integers(0, len(VOC), (count, height, width), dtype=np.uint8))
    return Batch(
        images=images,
        targets=targets,
        image_ids=tuple(str(i) for i in range(count)),
        indices=torch.arange(count),
        sizes_hw=torch.tensor([size_hw] * count),
        blank=torch.zeros(count, dtype=torch.bool),
    )
