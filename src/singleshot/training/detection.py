"""Learning to detect: what the loop in `fit` needs to know about SSD.

Data and augmentation, matching and loss, and a judgement of the running mean of the weights after an epoch:
validation loss and mAP come from one pass over the validation split, and a fixed part of the training split is judged
beside it, so that the gap between the two can be seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from singleshot import evaluation, weights
from singleshot.data.loader import DetectionLoader
from singleshot.detection.loss import LossParts, multibox_loss
from singleshot.detection.matching import match
from singleshot.detection.raw import RawDetections
from singleshot.detection.ssd import SSD
from singleshot.prediction.predictor import Detector
from singleshot.preprocess import boxes_to_fractions, normalise
from singleshot.structures import Batch, Dataset
from singleshot.training.fit import Validation
from singleshot.training.recipe import Recipe


@dataclass
class DetectionTask:
    """A detector, its data and its recipe.

    Args:
        network: the detector in training.
        recipe: every choice.
        train: the pictures to learn from.
        val: the pictures to judge by, or None.
        workers: processes that load pictures.
        bf16: judge in bfloat16, as the run trains.
        provenance: what every weights file of the run says about its origin.
        on_bad: what happens at a picture that cannot be read.
    """

    network: SSD
    recipe: Recipe
    train: Dataset
    val: Dataset | None
    workers: int
    bf16: bool = False
    provenance: Mapping[str, Any] = field(default_factory=dict)
    on_bad: Any = "fail"

    def __post_init__(self) -> None:
        batch_size = min(self.recipe.batch_size, len(self.train))
        self.loader = DetectionLoader(
            self.train,
            size_hw=self.network.config.input_size_hw,
            augmentation=self.recipe.augmentation,
            batch_size=batch_size,
            seed=self.recipe.seed,
            workers=self.workers,
            drop_last=self.recipe.drop_last,
            pin_memory=torch.cuda.is_available(),
            on_bad=self.on_bad,
            fast_decode=True,
            cache_bytes=CACHE_BYTES,
        )
        self.steps_per_epoch = len(self.loader)
        self.judged = [("val", self.val)] if self.val is not None else []
        subset = _evenly(self.train, self.recipe.train_subset)
        if len(subset):
            self.judged.append(("train_subset", subset))

    def batches(self, epoch: int) -> Iterable[Batch]:
        """The augmented training batches of an epoch."""
        return self.loader.epoch(epoch)

    def losses(self, module: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Class and box loss of a batch on the device."""
        raw: RawDetections = module(normalise(batch.images, self.network.config.preprocess))
        parts = self._loss(raw, batch)
        return {"class": parts.classification, "box": parts.localisation}

    def _loss(self, raw: RawDetections, batch: Batch) -> LossParts:
        anchors = self.network.anchors_cxcywh
        truths = boxes_to_fractions(batch.boxes_xyxy, self.network.config.input_size_hw)
        config = self.recipe.loss
        matches = match(anchors, truths, batch.class_ids >= 0, rule=config.matching, iou_threshold=config.iou_threshold)
        return multibox_loss(raw, anchors, truths, batch.class_ids, matches, config)

    def validate(self, network: SSD) -> Validation:
        """mAP, AP per class and both losses of the validation split, and the same of the training subset.

        The score is the validation mAP, or None without a validation split.
        """
        detector = Detector(network.eval(), device=network.anchors_cxcywh.device, bf16=self.bf16)
        columns: dict[str, float | None] = {}
        score = None
        for name, dataset in self.judged:
            losses: list[tuple[float, float]] = []

            def keep_losses(batch: Batch, raw: RawDetections, losses: list[tuple[float, float]] = losses) -> None:
                parts = self._loss(raw, batch.to(network.anchors_cxcywh.device))
                losses.append((float(parts.classification), float(parts.localisation)))

            found = evaluation.detect(detector, dataset, workers=self.workers, on_batch=keep_losses)
            report = evaluation.judge(found, dataset, metric=self.recipe.metric)
            means = np.mean(losses, axis=0)
            columns |= {f"{name}_class": float(means[0]), f"{name}_box": float(means[1]), f"{name}_map": report.map}
            columns |= {f"{name}_ap_{label}": ap for label, ap in report.ap.items()}
            if name == "val":
                score = report.map
        return Validation(score, columns)

    def save(self, path: Path, network: SSD, facts: Mapping[str, Any]) -> None:
        """Write a weights file with the run's provenance and these facts."""
        weights.save(path, network, {**self.provenance, **facts})

    def close(self) -> None:
        """End the workers."""
        self.loader.close()


CACHE_BYTES = 1 << 30
"""Memory for decoded pictures: a small data set is decoded once, a large one is not held."""


def _evenly(dataset: Dataset, count: int) -> Dataset:
    """`count` pictures spread over the split, always the same ones; all of them where there are no more."""
    places = np.unique(np.linspace(0, len(dataset) - 1, min(count, len(dataset))).round().astype(int)).tolist()
    return replace(dataset, samples=[dataset.samples[place] for place in places])
