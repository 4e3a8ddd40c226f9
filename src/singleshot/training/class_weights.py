"""How much each class of pixels counts in the loss: given in the recipe, or from how often it occurs in training.

For the latter every mask of the split is read once before the first step, by the workers and for all ranks together.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from singleshot.data.faults import OnBad
from singleshot.data.load.loader import CountPixels, Loader, LoaderOptions
from singleshot.errors import ConfigError, DataError
from singleshot.segmentation.loss import log_weights
from singleshot.structures import Dataset
from singleshot.training.ranks import Ranks
from singleshot.training.recipe import Recipe

BATCH_SIZE = 16
"""Masks that a worker counts at a time."""
FEW = 256
"""So many are read faster than processes start."""


def class_weights(
    recipe: Recipe, train: Dataset, *, workers: int = 0, on_bad: OnBad = "fail", ranks: Ranks
) -> Float[Tensor, " C"] | None:
    """The weights that the recipe asks for, by class id; None for equal ones.

    Args:
        recipe: its `pixel_loss.class_weights`.
        train: the split, whose masks are counted for `log`.
        workers: processes that read them.
        on_bad: end at a mask that cannot be read, or leave it out: training will name it.
        ranks: the first of them counts.

    Raises:
        ConfigError: another number of weights than of classes.
        DataError, InputMissingError: a mask cannot be read, and `on_bad` is "fail"; or no mask has a class.
    """
    wanted, classes = recipe.pixel_loss.class_weights, len(train.label_map)
    if wanted == "none":
        return None
    if wanted == "log":
        return torch.from_numpy(log_weights(ranks.first_does(lambda: class_pixels(train, workers, on_bad))))
    if len(wanted) != classes:
        what = f"{len(wanted)} class weights for {classes} classes"
        raise ConfigError(what, remedy=f"Give one each: {', '.join(train.label_map.names)}")
    return torch.tensor(wanted)


def class_pixels(train: Dataset, workers: int, on_bad: OnBad) -> Int[ndarray, " C"]:
    """Counts the pixels of each class in all masks of a split. Raises what `class_weights` says of masks."""
    options = LoaderOptions(BATCH_SIZE, on_bad=on_bad, workers=workers if len(train) > FEW else 0)
    with Loader(train, CountPixels(len(train.label_map)), options) as loader:
        total = sum((batch.targets.sum(dim=0) for batch in loader.epoch()), torch.zeros(len(train.label_map)).long())
    if not total.any():
        raise DataError("no mask has a class", kind="void-mask", remedy="Draw masks", file=train.root)
    return total.numpy()
