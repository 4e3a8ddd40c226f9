"""What a run trains and with what: network, criterion, loader and validation. Only here the kind of model decides.

Everything else in training (`fit`, optimizer, checkpoints, ranks) serves detectors and segmenters alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from singleshot.backbones.layers import synced
from singleshot.data import anchor_fit
from singleshot.data.faults import OnBad
from singleshot.data.load.loader import (
    CountPixels,
    Loader,
    LoaderOptions,
    Prepare,
    Shard,
    TrainDetection,
    TrainSegmentation,
)
from singleshot.data.load.order import repeat_factors
from singleshot.detection.ssd import SSD
from singleshot.errors import ConfigError, DataError
from singleshot.evaluation.evaluate import metric_for
from singleshot.evaluation.loop import eval_loader
from singleshot.prediction.predictor import predictor_of
from singleshot.segmentation.fcn import FCN
from singleshot.segmentation.loss import log_weights
from singleshot.structures import Dataset
from singleshot.training.criterion import Criterion, DetectionCriterion, SegmentationCriterion
from singleshot.training.ranks import Ranks, per_rank
from singleshot.training.recipe import Recipe
from singleshot.training.validate import Validation, ValidationOptions, validate


@dataclass(frozen=True)
class Setup:
    """The parts of a training that depend on the kind of model.

    Args:
        network: the network to train.
        criterion: its loss.
        loader: its training batches.
        validate: evaluates a network like it.
        warning: what the user should know about the data before training starts, if anything.
    """

    network: SSD | FCN
    criterion: Criterion
    loader: Loader[Any]
    validate: Callable[[Any], Validation]
    warning: str | None = None


@dataclass(frozen=True)
class SetupOptions:
    """What is not in the recipe.

    Args:
        workers: processes that load images.
        bf16: validate in bfloat16, as the run trains.
        on_bad: end at a file that cannot be read, or leave it out and list it.
        ranks: the processes that share the work.
        cache_bytes: memory for decoded images: a small data set is decoded once, a large one is not held.
    """

    workers: int = 0
    bf16: bool = False
    on_bad: OnBad = "fail"
    ranks: Ranks = field(default_factory=Ranks)
    cache_bytes: int = 1 << 30


def set_up(
    network: SSD | FCN, recipe: Recipe, train: Dataset, val: Dataset | None, options: SetupOptions | None = None
) -> Setup:
    """Make criterion, loader and validation for a network.

    Args:
        network: is changed in place: with several ranks its batch normalisation is that of all of them.
        recipe: every choice.
        train: the images to learn from, with masks for a segmenter.
        val: the validation split, or None.
        options: see there.

    Raises:
        ConfigError: class weights for another number of classes, or a batch that ranks cannot share.
        DataError: no mask of the split has a class, validation images have no mask, or MaxF is asked of more than
            two classes.
    """
    options = options or SetupOptions()
    if options.ranks.world > 1:
        synced(network, options.ranks.device.type)
    validation = ValidationOptions(
        recipe, train, val, options.workers, options.bf16, on_bad=options.on_bad, ranks=options.ranks
    )
    preprocess = network.config.preprocess
    if network.task == "detection":
        loader = _loader(TrainDetection(preprocess, recipe.augmentation), recipe, train, options)
        criterion = DetectionCriterion(network, recipe.loss)
        validator = partial(validate, criterion=criterion, options=validation)
        warning = anchor_fit.coverage_warning(train.samples, network.config)
        return Setup(network, criterion, loader, validator, warning)
    for dataset in validation.splits.values():  # what would end the run after its first epoch ends it now
        metric_for(recipe.pixel_metric, dataset)
        eval_loader(predictor_of(network), dataset, workers=options.workers)
    loader = _loader(TrainSegmentation(preprocess, recipe.augmentation), recipe, train, options)
    weights = class_weights(recipe, train, workers=options.workers, on_bad=options.on_bad, ranks=options.ranks)
    criterion = SegmentationCriterion(recipe.pixel_loss, weights)
    validator = partial(validate, criterion=criterion, options=validation)
    return Setup(network, criterion, loader, validator)


def _loader(prepare: Prepare[Any, Any], recipe: Recipe, train: Dataset, options: SetupOptions) -> Loader[Any]:
    world, factors = options.ranks.world, None
    if recipe.repeat_rare and not recipe.is_segmentation:
        factors = repeat_factors([sample.class_ids for sample in train.samples], recipe.repeat_rare)
    how = LoaderOptions(
        per_rank(min(recipe.batch_size, len(train)), world),
        seed=recipe.seed,
        shuffle=True,
        factors=factors,
        drop_last=recipe.drop_last or world > 1,  # ranks with a batch less would leave the others waiting
        on_bad=options.on_bad,
        fast_decode=recipe.fast_decode,
        cache_bytes=options.cache_bytes,
        workers=options.workers,
        pin_memory=torch.cuda.is_available(),
    )
    return Loader(train, prepare, how, Shard(options.ranks.rank, world))


BATCH_SIZE = 16
"""Masks that a worker counts at a time."""
FEW = 256
"""So many are read faster than processes start."""


def class_weights(
    recipe: Recipe, train: Dataset, *, workers: int = 0, on_bad: OnBad = "fail", ranks: Ranks
) -> Float[Tensor, " C"] | None:
    """Return the weights of the classes in the loss, by class id; None for equal ones.

    Args:
        recipe: its `pixel_loss.class_weights`.
        train: the split, whose masks are counted for `log`.
        workers: processes that read them.
        on_bad: end at a mask that cannot be read, or leave it out: training lists it.
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
        message = f"{len(wanted)} class weights for {classes} classes"
        raise ConfigError(message, remedy=f"Give one each: {', '.join(train.label_map.names)}")
    return torch.tensor(wanted)


def class_pixels(train: Dataset, workers: int, on_bad: OnBad) -> Int[ndarray, " C"]:
    """Count the pixels of each class in all masks of a split. Raises what `class_weights` says of masks."""
    options = LoaderOptions(BATCH_SIZE, on_bad=on_bad, workers=workers if len(train) > FEW else 0)
    with Loader(train, CountPixels(len(train.label_map)), options) as loader:
        total = sum((batch.targets.sum(dim=0) for batch in loader.epoch()), torch.zeros(len(train.label_map)).long())
    if not total.any():
        raise DataError("no mask has a class", kind="void-mask", remedy="Draw masks", file=train.root)
    return total.numpy()
