"""Validation after an epoch: score and losses of the validation split, and of a fixed part of the training split.

Both come from one pass over each split. The part of the training split is evaluated beside the validation split so
that the gap between the two can be seen. With several ranks each takes its own batches, and all get the same figures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from singleshot.data.augment.augment import pad_mask, resize_mask
from singleshot.data.faults import OnBad
from singleshot.detection.coding import RawDetections
from singleshot.detection.ssd import SSD
from singleshot.errors import Fault
from singleshot.evaluation.detect import detect
from singleshot.evaluation.judge import judge
from singleshot.evaluation.judge_masks import counted, judge_of
from singleshot.evaluation.maxf import MaxfReport
from singleshot.evaluation.segment import SegmentedBatch, segment
from singleshot.metrics.road_maxf import ROAD
from singleshot.prediction.predictor import Detector, Segmenter
from singleshot.preprocess import inner_size_hw
from singleshot.segmentation.fcn import FCN
from singleshot.structures import Batch, BoxTargets, Dataset, evenly_spaced
from singleshot.training.criterion import DetectionCriterion, SegmentationCriterion
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
    """How validation is done; both functions below take one.

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


def validate_detector(network: SSD, criterion: DetectionCriterion, options: ValidationOptions) -> Validation:
    """Evaluate mAP, AP per class and both losses.

    Args:
        network: is left in evaluation mode.
        criterion: of the training.
        options: see there.
    """
    ranks, device = options.ranks, network.anchors_cxcywh.device
    detector = Detector(network.eval(), device=device, bf16=options.bf16)
    columns: dict[str, float | None] = {}
    faults: list[Fault] = []
    score = None
    for name, dataset in options.splits.items():
        losses: list[BatchLosses] = []

        def add_losses(batch: Batch[BoxTargets], raw: RawDetections, losses: list[BatchLosses] = losses) -> None:
            targets = criterion.targets(batch.to(device))
            parts = criterion(raw, targets, criterion.totals(targets))
            losses.append(({key: float(part) for key, part in parts.items()}, len(batch)))
            ranks.report_alive()

        found = detect(
            detector,
            dataset,
            workers=options.workers,
            on_batch=add_losses,
            on_bad=options.on_bad,
            on_skipped=faults.extend,
            rank=ranks.rank,
            world=ranks.world,
            gather=ranks.gather,
        )
        # Left in, objects of an image that could not be read would count as missed.
        unread = {fault.file for part in ranks.gather(list(faults)) for fault in part}
        kept = [index for index, sample in enumerate(dataset.samples) if sample.image_path not in unread]
        read = replace(dataset, samples=[dataset.samples[index] for index in kept]) if unread else dataset
        report = judge([found[index] for index in kept], read, metric=options.recipe.metric)
        means = mean_losses(in_turn(ranks.gather(losses)), ("class", "box"))
        columns |= {f"{name}_{key}": value for key, value in means.items()} | {f"{name}_map": report.map}
        columns |= {f"{name}_ap_{label}": ap for label, ap in report.ap.items()}
        if name == "val":
            score = report.map
    return Validation(score, columns, faults)


def validate_segmenter(network: FCN, criterion: SegmentationCriterion, options: ValidationOptions) -> Validation:
    """Evaluate the recipe's metric, IoU per class and the cross-entropy, at the images' own sizes.

    Args:
        network: is left in evaluation mode.
        criterion: of the training.
        options: see there.
    """
    segmenter = Segmenter(network.eval(), device=next(network.parameters()).device, bf16=options.bf16)
    ranks, metric = options.ranks, options.recipe.pixel_metric
    columns: dict[str, float | None] = {}
    faults: list[Fault] = []
    score = None
    for name, dataset in options.splits.items():
        losses: list[BatchLosses] = []

        def add_loss(batch: SegmentedBatch, losses: list[BatchLosses] = losses) -> None:
            masks = np.stack([_at_input_size(truth, network) for truth in batch.truths if truth is not None])
            targets = torch.from_numpy(masks).to(batch.logits.device)
            parts = criterion(batch.logits, targets, criterion.totals(targets))
            losses.append(({"pixel": float(parts["pixel"])}, len(batch)))
            ranks.report_alive()

        own, whole = (judge_of(metric, dataset, instances=False) for _ in range(2))
        answers = segment(
            segmenter,
            dataset,
            workers=options.workers,
            chances_of=ROAD if metric == "maxf" else None,
            on_batch=add_loss,
            on_bad=options.on_bad,
            on_skipped=faults.append,
            rank=ranks.rank,
            world=ranks.world,
        )
        for _ in counted(own, answers):
            pass
        every = ranks.gather((own, losses))
        whole.merge([part for part, _ in every])  # pyright: ignore[reportArgumentType]
        means = mean_losses(in_turn([part for _, part in every]), ("pixel",))
        report = whole.report()
        if isinstance(report, MaxfReport):
            figure, figures = report.maxf, {"maxf": report.maxf}
        else:
            figure = report.figures.miou
            figures = {"miou": figure, "pixel_accuracy": report.figures.pixel_accuracy}
            figures |= {f"iou_{label}": iou for label, iou in report.figures.iou.items()}
        columns |= {f"{name}_{key}": value for key, value in (means | figures).items()}
        if name == "val":
            score = figure
    return Validation(score, columns, faults)


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


def _at_input_size(truth: np.ndarray, network: FCN) -> np.ndarray:
    """Bring a mask to the size of the network's scores: resized, and letterboxed where the images are."""
    preprocess = network.config.preprocess
    inner_hw = inner_size_hw((truth.shape[0], truth.shape[1]), preprocess.size_hw, preprocess.fit)
    return pad_mask(resize_mask(truth, inner_hw), preprocess.size_hw)
