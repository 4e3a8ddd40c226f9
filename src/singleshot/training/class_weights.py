"""How much each class of pixels counts in the loss: given in the recipe, or from how often it occurs in training.

For the latter every mask of the split is read once before the first step, by the workers and for all ranks together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from singleshot.data.load.mask_loader import MaskPairs
from singleshot.data.load.workers import Begin, Workers
from singleshot.data.masks import files as mask_files
from singleshot.errors import ConfigError, DataError, InputMissingError
from singleshot.segmentation.loss import log_weights
from singleshot.structures import Dataset
from singleshot.training.ranks import Ranks
from singleshot.training.recipe import Recipe

TOGETHER = 16
"""Masks that a worker counts at a time."""
FEW = 256
"""So many are read faster than processes start."""


def class_weights(
    recipe: Recipe, train: Dataset, *, workers: int = 0, on_bad: Literal["fail", "skip"] = "fail", ranks: Ranks
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


def class_pixels(train: Dataset, workers: int, on_bad: Literal["fail", "skip"]) -> Int[ndarray, " C"]:
    """The pixels of each class in all masks of a split. Raises what `class_weights` says of masks."""
    pairs = MaskPairs.of(train)
    total = np.zeros(len(train.label_map), dtype=np.int64)
    count = _Count(pairs, len(total), on_bad)
    work = Workers(count, workers=workers if len(train) > FEW else 0, file_of=pairs.masks.path)
    places = np.arange(len(train))
    try:
        for counts in work.run([places[start : start + TOGETHER] for start in places[::TOGETHER].tolist()]):
            if isinstance(counts, DataError | InputMissingError):
                raise counts
            total += counts.numpy()
    finally:
        work.close()
    if not total.any():
        raise DataError("no mask has a class", kind="void-mask", remedy="Draw masks", file=train.root)
    return total


@dataclass(frozen=True)
class _Count:
    """The work of a worker: pixels by class in some masks, or why one of them could not be read."""

    pairs: MaskPairs
    classes: int
    on_bad: Literal["fail", "skip"]

    def __call__(self, places: Int[ndarray, " B"], begin: Begin) -> Tensor | DataError | InputMissingError:
        total = np.zeros(self.classes, dtype=np.int64)
        for place in places.tolist():
            begin(place)
            try:
                mask = mask_files.read(self.pairs.masks.path(place), self.pairs.code)
                total += mask_files.pixels_per_class(mask, self.classes)
            except (DataError, InputMissingError) as error:
                if self.on_bad == "fail":
                    return error
        return torch.from_numpy(total)
