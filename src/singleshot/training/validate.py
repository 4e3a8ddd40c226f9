"""Validation after an epoch: score and losses of the validation split, and of a fixed part of the training split.

Both come from one pass over each split. The part of the training split is evaluated beside the validation split so
that the gap between the two can be seen. With several ranks each takes its own batches, and all get the same figures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from singleshot.data.augment.augment import pad_mask, resize_mask
from singleshot.data.faults import OnBad
from singleshot.data.load.loader import Shard
from singleshot.detection.ssd import SSD
from singleshot.errors import Fault
from singleshot.evaluation.coco import CocoReport
from singleshot.evaluation.evaluate import metric_for
from singleshot.evaluation.loop import eval_loader, predictions
from singleshot.evaluation.maxf import MaxfReport
from singleshot.evaluation.miou import MiouReport
from singleshot.evaluation.voc import VocReport
from singleshot.prediction.predictor import Detector, Segmenter
from singleshot.preprocess import Preprocess, inner_size_hw
from singleshot.segmentation.fcn import FCN
from singleshot.structures import Batch, Dataset, FullSizeMasks, evenly_spaced
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
    """

    score: float | None = None
    columns: Mapping[str, float | None] = field(default_factory=dict)
    faults: Sequence[Fault] = ()


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


def validate(
    network: SSD | FCN,
    predictor_type: type[Detector] | type[Segmenter],
    criterion: Criterion,
    options: ValidationOptions,
) -> Validation:
    """Evaluate the recipe's metric, its value per class, and the losses.

    Args:
        network: is left in evaluation mode.
        predictor_type: of the network.
        criterion: of the training.
        options: see there.
    """
    ranks, recipe, device = options.ranks, options.recipe, next(network.parameters()).device
    predictor: Any = predictor_type(network.eval(), device=device, bf16=options.bf16)  # pyright: ignore[reportArgumentType]
    metric_name = recipe.metric if predictor.task == "detection" else recipe.pixel_metric
    columns: dict[str, float | None] = {}
    faults: list[Fault] = []
    score = None
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
            targets = criterion.targets(_at_network_size(batch, network.config.preprocess).to(device))
            parts = criterion(raw, targets, criterion.totals(targets))
            losses.append(({key: float(parts[key]) for key in criterion.validated}, len(batch)))
            ranks.report_alive()
        metric.merge(ranks.gather(metric.state()))
        faults += loader.faults
        split_score, figures = _figures(metric.compute())
        means = mean_losses(in_turn(ranks.gather(losses)), criterion.validated)
        columns |= {f"{name}_{key}": value for key, value in (means | figures).items()}
        if name == "val":
            score = split_score
    return Validation(score, columns, faults)


def _figures(report: VocReport | CocoReport | MiouReport | MaxfReport) -> tuple[float | None, dict[str, float | None]]:
    """Return the score of a report and its columns of `log.csv`."""
    if isinstance(report, VocReport | CocoReport):
        return report.map, {"map": report.map} | {f"ap_{label}": ap for label, ap in report.ap.items()}
    if isinstance(report, MaxfReport):
        return report.maxf, {"maxf": report.maxf}
    scores = report.figures
    figures = {"miou": scores.miou, "pixel_accuracy": scores.pixel_accuracy}
    return scores.miou, figures | {f"iou_{label}": iou for label, iou in scores.iou.items()}


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


def _at_network_size(batch: Batch[Any], preprocess: Preprocess) -> Batch[Any]:
    """Return the batch with its masks, if it has any, at the size of the network's output."""
    if not isinstance(batch.targets, FullSizeMasks):
        return batch
    size_hw, masks = preprocess.size_hw, []
    for mask in batch.targets.masks:
        if mask is None:
            raise ValueError("an image without a mask")
        truth = mask.numpy()
        inner_hw = inner_size_hw((truth.shape[0], truth.shape[1]), size_hw, preprocess.fit)
        masks.append(pad_mask(resize_mask(truth, inner_hw), size_hw))
    return replace(batch, targets=torch.from_numpy(np.stack(masks)))
