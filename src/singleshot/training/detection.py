"""Learning to detect: what the loop in `fit` needs to know about SSD.

Data and augmentation, matching and loss, and a judgement of the running mean of the weights after an epoch:
validation loss and mAP come from one pass over the validation split, and a fixed part of the training split is judged
beside it, so that the gap between the two can be seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from singleshot import weights
from singleshot.backbones.synced_batch_norm import synced
from singleshot.data.load.loader import Loader, LoaderOptions, Shard, TrainDetection
from singleshot.detection.loss import count_matches, multibox_loss
from singleshot.detection.raw import RawDetections
from singleshot.detection.ssd import SSD
from singleshot.errors import Fault
from singleshot.evaluation.detect import detect
from singleshot.evaluation.judge import judge
from singleshot.prediction.predictor import Detector
from singleshot.preprocess import boxes_to_fractions, normalise
from singleshot.structures import Batch, BoxTargets, Dataset, evenly_spaced
from singleshot.training.ranks import Ranks, in_turn, per_rank
from singleshot.training.recipe import Recipe
from singleshot.training.task import Validation


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
        ranks: who shares the work.
        cache_bytes: memory for decoded pictures: a small data set is decoded once, a large one is not held.
    """

    network: SSD
    recipe: Recipe
    train: Dataset
    val: Dataset | None
    workers: int
    bf16: bool = False
    provenance: Mapping[str, Any] = field(default_factory=dict)
    on_bad: Any = "fail"
    ranks: Ranks = field(default_factory=Ranks)
    cache_bytes: int = 1 << 30

    def __post_init__(self) -> None:
        world = self.ranks.world
        if world > 1:
            synced(self.network)
        batch_size = per_rank(min(self.recipe.batch_size, len(self.train)), world)
        options = LoaderOptions(
            batch_size,
            seed=self.recipe.seed,
            shuffle=True,
            workers=self.workers,
            drop_last=self.recipe.drop_last or world > 1,  # ranks with a batch less would leave the others waiting
            pin_memory=torch.cuda.is_available(),
            on_bad=self.on_bad,
            fast_decode=self.recipe.fast_decode,
            cache_bytes=self.cache_bytes,
        )
        prepare = TrainDetection(self.network.config.preprocess, self.recipe.augmentation)
        self.loader = Loader(self.train, prepare, options, Shard(self.ranks.rank, world))
        self.steps_per_epoch = len(self.loader)
        self._unread: list[Fault] = []
        self.judged = [("val", self.val)] if self.val is not None else []
        places = evenly_spaced(len(self.train), self.recipe.train_subset)
        if places:  # always the same ones
            subset = replace(self.train, samples=[self.train.samples[place] for place in places])
            self.judged.append(("train_subset", subset))

    @property
    def position(self) -> int:
        """Batches of the running epoch that are behind us."""
        return self.loader.position

    @property
    def faults(self) -> list[Fault]:
        """Pictures that could not be read, of training and of validation."""
        return [*self.loader.faults, *self._unread]

    def batches(self, epoch: int, start: int = 0) -> Iterable[Batch[BoxTargets]]:
        """The augmented training batches of an epoch, from the `start`-th on."""
        return self.loader.epoch(epoch, start)

    def whole(self, batch: Batch[BoxTargets]) -> Tensor:
        """What a batch's losses are divided by, for its parts: matches and images over all ranks."""
        return self.ranks.sum(count_matches(self._matched(batch)[1]))

    def losses(self, module: nn.Module, batch: Batch[BoxTargets], whole: Tensor | None = None) -> dict[str, Tensor]:
        """Class and box loss of a batch on the device, or what it adds to those of the whole that it is a part of."""
        raw: RawDetections = module(normalise(batch.images, self.network.config.preprocess))
        if whole is None and self.ranks.world > 1:
            whole = self.whole(batch)
        return self._loss(raw, batch, whole, self.ranks.world)

    def _loss(
        self, raw: RawDetections, batch: Batch[BoxTargets], totals: Tensor | None = None, world: int = 1
    ) -> dict[str, Tensor]:
        anchors, config = self.network.anchors_cxcywh, self.recipe.loss
        truths, assignments = self._matched(batch)
        blank = batch.blank.to(anchors.device) if batch.blank.any() else None  # asked on the host: no wait for a device
        return multibox_loss(
            raw, anchors, truths, batch.targets.class_ids, assignments, config, blank=blank, totals=totals, world=world
        )

    def _matched(self, batch: Batch[BoxTargets]) -> tuple[Tensor, Tensor]:
        """The boxes as fractions of the input, and which anchors learn them."""
        truths = boxes_to_fractions(batch.targets.boxes_xyxy, self.network.config.input_size_hw)
        matcher = self.recipe.loss.matcher(self.network.anchors_cxcywh)
        return truths, matcher.match_batch(truths, batch.targets.class_ids >= 0)

    def validate(self, network: SSD) -> Validation:
        """mAP, AP per class and both losses of the validation split, and the same of the training subset.

        The score is the validation mAP, or None without a validation split.
        """
        detector = Detector(network.eval(), device=network.anchors_cxcywh.device, bf16=self.bf16)
        ranks = self.ranks
        columns: dict[str, float | None] = {}
        score = None
        for name, dataset in self.judged:
            mine: list[BatchLosses] = []

            def keep_losses(batch: Batch[BoxTargets], raw: RawDetections, mine: list[BatchLosses] = mine) -> None:
                parts = self._loss(raw, batch.to(network.anchors_cxcywh.device))
                mine.append((float(parts["class"]), float(parts["box"]), len(batch)))
                ranks.pulse()

            found = detect(
                detector,
                dataset,
                workers=self.workers,
                on_batch=keep_losses,
                on_bad=self.on_bad,
                on_skipped=self._unread.extend,
                rank=ranks.rank,
                world=ranks.world,
                gather=ranks.gather,
            )
            # Left in, objects that the network was never shown would count as missed.
            unread = {fault.file for faults in ranks.gather(list(self._unread)) for fault in faults}
            shown = [place for place, sample in enumerate(dataset.samples) if sample.image_path not in unread]
            seen = replace(dataset, samples=[dataset.samples[place] for place in shown]) if unread else dataset
            report = judge([found[place] for place in shown], seen, metric=self.recipe.metric)
            class_loss, box_loss = mean_losses(in_turn(ranks.gather(mine)))
            columns |= {f"{name}_class": class_loss, f"{name}_box": box_loss, f"{name}_map": report.map}
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


BatchLosses = tuple[float, float, int]
"""Class loss and box loss of a batch, and its pictures."""


def mean_losses(batches: Sequence[BatchLosses]) -> tuple[float | None, float | None]:
    """The means of both losses over all pictures: a last batch that is short weighs less. None for no batch.

    >>> mean_losses([(1.0, 2.0, 3), (5.0, 2.0, 1)])
    (2.0, 2.0)
    """
    if not batches:
        return None, None
    rows = np.array(batches, dtype=np.float64)
    class_loss, box_loss = np.average(rows[:, :2], axis=0, weights=rows[:, 2]).tolist()
    return class_loss, box_loss
