"""Validation after an epoch: score and losses of the validation split, and of a fixed part of the training split.

Both come from one pass over each split. The part of the training split is evaluated beside the validation split so
that the gap between the two can be seen. With several ranks each takes its own batches, and all get the same figures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from singleshot.data.faults import OnBad
from singleshot.data.load.loader import Shard
from singleshot.detection.ssd import SSD
from singleshot.errors import Fault
from singleshot.evaluation.evaluate import metric_for
from singleshot.evaluation.loop import eval_loader, predictions
from singleshot.prediction.predictor import predictor_of
from singleshot.segmentation.fcn import FCN
from singleshot.structures import Dataset, evenly_spaced
from singleshot.training.criterion import Criterion
from singleshot.training.ranks import Ranks, in_turn
from singleshot.training.recipe import Recipe

BatchLosses = tuple[dict[str, float], int]
"""The losses of a batch by name, and its images."""


@dataclass(frozen=True)
class Validation:
    """The result of validating a network.

    Args:
        score: the metric by which the best epoch is chosen, higher is better; None without a validation split.
        columns: figures for `log.csv`, by column.
        faults: files that could not be read.
        thresholds: the display threshold of each class, if the recipe wants them chosen.
    """

    score: float | None = None
    columns: Mapping[str, float | None] = field(default_factory=dict)
    faults: Sequence[Fault] = ()
    thresholds: tuple[float, ...] | None = None


@dataclass(frozen=True)
class ValidationOptions:
    """How validation is done.

    Args:
        recipe: its metric, and how much of the training split is evaluated.
        train: the training split.
        val: the validation split, or None.
        workers: processes that load images.
        bf16: evaluate in bfloat16, as the run trains.
        on_bad: end at a file that cannot be read, or leave it out and list it.
        ranks: the processes that share the work.
    """

    recipe: Recipe
    train: Dataset
    val: Dataset | None
    workers: int = 0
    bf16: bool = False
    on_bad: OnBad = "fail"
    ranks: Ranks = field(default_factory=Ranks)

    @property
    def splits(self) -> dict[str, Dataset]:
        """The splits to evaluate, by the prefix of their columns. The training images are always the same ones."""
        splits = {} if self.val is None else {"val": self.val}
        indices = evenly_spaced(len(self.train), self.recipe.train_subset)
        if indices:
            samples = [self.train.samples[index] for index in indices]
            splits["train_subset"] = replace(self.train, samples=samples)
        return splits


def validate(network: SSD | FCN, criterion: Criterion, options: ValidationOptions) -> Validation:
    """Evaluate the recipe's metric, its value per class, and the losses.

    Args:
        network: is left in evaluation mode.
        criterion: of the training.
        options: see there.
    """
    ranks, recipe, device = options.ranks, options.recipe, next(network.parameters()).device
    predictor = predictor_of(network.eval(), device=device, bf16=options.bf16)
    metric_name = recipe.pixel_metric if recipe.is_segmentation else recipe.metric
    columns: dict[str, float | None] = {}
    faults: list[Fault] = []
    score = thresholds = None
    for name, dataset in options.splits.items():
        metric = metric_for(metric_name, dataset, instances=False)
        loader = eval_loader(
            predictor,
            dataset,
            workers=options.workers,
            on_bad=options.on_bad,
            shard=Shard(ranks.rank, ranks.world),
        )
        losses: list[BatchLosses] = []
        for batch, raw, results in predictions(predictor, loader, probabilities=metric_name == "maxf"):
            metric.update(batch, results)
            targets = criterion.targets(criterion.prepare_evaluated(batch, network.config.preprocess).to(device))
            parts = criterion(raw, targets, criterion.totals(targets))
            losses.append(({key: float(parts[key]) for key in criterion.validated}, len(batch)))
            ranks.report_alive()
        metric.merge(ranks.gather(metric.state()))
        faults += loader.faults
        report = metric.compute()
        means = mean_losses(in_turn(ranks.gather(losses)), criterion.validated)
        columns |= {f"{name}_{key}": value for key, value in (means | report.columns()).items()}
        if name == "val":
            score = report.score
            if recipe.choose_thresholds and not recipe.is_segmentation:
                thresholds = report.best_thresholds()
    return Validation(score, columns, faults, thresholds)


def mean_losses(batches: Sequence[BatchLosses], names: Sequence[str]) -> dict[str, float | None]:
    """Average losses over images, so that a last batch that is short counts less. None without a batch.

    >>> mean_losses([({"box": 1.0}, 3), ({"box": 5.0}, 1)], ["box"]), mean_losses([], ["box"])
    ({'box': 2.0}, {'box': None})
    """
    if not batches:
        return dict.fromkeys(names)
    rows = np.array([[losses[name] for name in names] for losses, _ in batches], dtype=np.float64)
    means = np.average(rows, axis=0, weights=[images for _, images in batches])
    return dict(zip(names, means.tolist(), strict=True))
