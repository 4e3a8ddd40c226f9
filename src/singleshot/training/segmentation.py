"""Learning to segment: what the loop in `fit` needs to know about FCN.

It is the detector's task with masks in the place of boxes: the same recipe, loader, ranks and running mean. After an
epoch the validation split is judged at the pictures' own sizes, by mIoU or MaxF, and its loss is taken on the way; a
fixed part of the training split is judged beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from singleshot import weights
from singleshot.backbones.synced_batch_norm import synced
from singleshot.data.augment.augment import pad_mask, resize_mask
from singleshot.data.load.loader import Loader, LoaderOptions, Shard, TrainSegmentation
from singleshot.errors import Fault
from singleshot.evaluation.judge_masks import counted, judge_of
from singleshot.evaluation.maxf import MaxfReport
from singleshot.evaluation.segment import SegmentedBatch, check_room, segment
from singleshot.metrics.road_maxf import ROAD
from singleshot.prediction.segmenter import Segmenter
from singleshot.preprocess import inner_size_hw, normalise
from singleshot.segmentation.fcn import FCN
from singleshot.segmentation.loss import pixel_loss, pixel_weight
from singleshot.structures import Batch, Dataset, evenly_spaced
from singleshot.training.class_weights import class_weights
from singleshot.training.ranks import Ranks, per_rank
from singleshot.training.recipe import Recipe
from singleshot.training.task import Validation


@dataclass
class SegmentationTask:
    """A segmenter, its data and its recipe.

    Args:
        network: the segmenter in training.
        recipe: every choice.
        train: the pictures to learn from, with masks.
        val: the pictures to judge by, or None.
        workers: processes that load pictures.
        bf16: judge in bfloat16, as the run trains.
        provenance: what every weights file of the run says about its origin.
        on_bad: what happens at a pair that cannot be read.
        ranks: who shares the work.
        cache_bytes: memory for decoded pairs: a small data set is decoded once, a large one is not held.

    Raises:
        ConfigError: class weights for another number of classes.
        DataError: no mask of the split has a class, pictures to judge by have no mask, or MaxF is wanted of more than
            two classes.
    """

    network: FCN
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
        options = LoaderOptions(
            per_rank(min(self.recipe.batch_size, len(self.train)), world),
            seed=self.recipe.seed,
            shuffle=True,
            workers=self.workers,
            drop_last=self.recipe.drop_last or world > 1,  # ranks with a batch less would leave the others waiting
            pin_memory=torch.cuda.is_available(),
            on_bad=self.on_bad,
            fast_decode=self.recipe.fast_decode,
            cache_bytes=self.cache_bytes,
        )
        prepare = TrainSegmentation(self.network.config.preprocess, self.recipe.augmentation)
        self.loader = Loader(self.train, prepare, options, Shard(self.ranks.rank, world))
        self.steps_per_epoch = len(self.loader)
        self.judged = [("val", self.val)] if self.val is not None else []
        places = evenly_spaced(len(self.train), self.recipe.train_subset)
        if places:  # always the same ones
            subset = replace(self.train, samples=[self.train.samples[place] for place in places])
            self.judged.append(("train_subset", subset))
        self._unread: list[Fault] = []
        for _, dataset in self.judged:  # what would end the run after its first epoch ends it now
            judge_of(self.recipe.pixel_metric, dataset)
            check_room(dataset, self.network.config.preprocess, workers=self.workers)
        self.weights = class_weights(
            self.recipe, self.train, workers=self.workers, on_bad=self.on_bad, ranks=self.ranks
        )

    @property
    def position(self) -> int:
        """Batches of the running epoch that are behind us."""
        return self.loader.position

    @property
    def faults(self) -> list[Fault]:
        """Pairs that could not be read, of training and of validation, and masks that are void all over."""
        return [*self.loader.faults, *self._unread]

    def batches(self, epoch: int, start: int = 0) -> Iterable[Batch[Tensor]]:
        """The augmented training batches of an epoch, from the `start`-th on."""
        return self.loader.epoch(epoch, start)

    def whole(self, batch: Batch[Tensor]) -> Tensor:
        """() what a batch's cross-entropy is divided by, as a mean over the ranks."""
        return self.ranks.mean(self._weight(batch.targets))

    def losses(self, module: nn.Module, batch: Batch[Tensor], whole: Tensor | None = None) -> dict[str, Tensor]:
        """Cross-entropy of a batch on the device, and soft IoU if the recipe wants it.

        With `whole`, what the batch adds to the cross-entropy of the whole that it is a part of. The mean over the
        ranks is that of all their pixels; soft IoU, which is no mean over pixels, stays each rank's own.
        """
        logits = module(normalise(batch.images, self.network.config.preprocess))
        losses = self._loss(logits, batch.targets)
        if whole is None and self.ranks.world == 1:
            return losses
        total = self.whole(batch) if whole is None else whole
        share = self._weight(batch.targets) / total.clamp(min=torch.finfo(torch.float32).tiny)
        return losses | {"pixel": losses["pixel"] * share}

    def _weight(self, masks: Tensor) -> Tensor:
        """What the cross-entropy of these masks is divided by."""
        return pixel_weight(masks, self._weights_on(masks.device))

    def _loss(self, logits: Float[Tensor, "B C H W"], masks: Tensor) -> dict[str, Tensor]:
        return pixel_loss(logits, masks, self.recipe.pixel_loss, self._weights_on(logits.device)).parts()

    def _weights_on(self, device: torch.device) -> Float[Tensor, " C"] | None:
        """The class weights where the loss is; they move once, because each copy waits for all that a GPU has to do."""
        if self.weights is not None and self.weights.device != device:
            self.weights = self.weights.to(device)
        return self.weights

    def validate(self, network: FCN) -> Validation:
        """The recipe's metric, IoU by class and the loss of the validation split, and the same of the subset.

        The score is the validation split's metric, or None without one.
        """
        device = next(network.parameters()).device
        segmenter = Segmenter(network.eval(), device=device, bf16=self.bf16)
        columns: dict[str, float | None] = {}
        score = None
        for name, dataset in self.judged:
            figure, more = self._judge(segmenter, dataset)
            columns |= {f"{name}_{key}": value for key, value in more.items()}
            if name == "val":
                score = figure
        return Validation(score, columns)

    def _judge(self, segmenter: Segmenter, dataset: Dataset) -> tuple[float | None, dict[str, float | None]]:
        ranks, losses = self.ranks, list[tuple[int, float]]()

        def keep_loss(batch: SegmentedBatch) -> None:
            tiles = [self._at_input_size(truth) for truth in batch.truths if truth is not None]
            masks = torch.from_numpy(np.stack(tiles)).to(batch.logits.device)
            losses.append((len(batch), float(self._loss(batch.logits, masks)["pixel"])))
            ranks.pulse()

        metric = self.recipe.pixel_metric
        judge, whole = (judge_of(metric, dataset, instances=False) for _ in range(2))
        seen = segment(
            segmenter,
            dataset,
            workers=self.workers,
            chances_of=ROAD if metric == "maxf" else None,
            on_batch=keep_loss,
            on_bad=self.on_bad,
            on_skipped=self._unread.append,
            rank=ranks.rank,
            world=ranks.world,
        )
        for _ in counted(judge, seen):
            pass
        every = ranks.gather((judge, losses))
        whole.merge([theirs for theirs, _ in every])  # pyright: ignore[reportArgumentType]
        columns: dict[str, float | None] = {"pixel": _mean([pair for _, theirs in every for pair in theirs])}
        report = whole.report()
        if isinstance(report, MaxfReport):
            return report.maxf, columns | {"maxf": report.maxf}
        figures = report.figures
        columns |= {"miou": figures.miou, "pixel_accuracy": figures.pixel_accuracy}
        return figures.miou, columns | {f"iou_{label}": iou for label, iou in figures.iou.items()}

    def _at_input_size(self, truth: np.ndarray) -> np.ndarray:
        """A truth as the network's own scores see it: resized, and letterboxed if that is its way."""
        preprocess = self.network.config.preprocess
        inner_hw = inner_size_hw((truth.shape[0], truth.shape[1]), preprocess.size_hw, preprocess.fit)
        return pad_mask(resize_mask(truth, inner_hw), preprocess.size_hw)

    def save(self, path: Path, network: FCN, facts: Mapping[str, Any]) -> None:
        """Write a weights file with the run's provenance and these facts."""
        weights.save(path, network, {**self.provenance, **facts})

    def close(self) -> None:
        """End the workers."""
        self.loader.close()


def _mean(losses: list[tuple[int, float]]) -> float | None:
    """The mean over pictures of what each batch gave."""
    pictures = sum(count for count, _ in losses)
    return sum(count * loss for count, loss in losses) / pictures if pictures else None
