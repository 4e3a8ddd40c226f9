"""What a segmenter sees in a whole split, beside the truth: the first half of every judgement of a segmenter.

Pictures are read at the network's size by workers, truths at their own; answers are enlarged to the truth's size, so
that what is judged is what a user gets. The split passes once and nothing of it is kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, UInt8
from numpy import ndarray

from singleshot.data.load.loader import EvalSegmentation, Loader, LoaderOptions, Shard
from singleshot.data.load.memory import check_shared_memory
from singleshot.errors import Fault
from singleshot.prediction.predictor import Segmenter
from singleshot.preprocess import Preprocess
from singleshot.segmentation import postprocess
from singleshot.structures import Batch, Dataset, FullSizeMasks

BATCH_SIZE = 8
PREFETCH = 2


@dataclass(frozen=True)
class Seen:
    """One picture's answer.

    Args:
        index: the picture's place in the split.
        class_ids: what the segmenter says, at the picture's own size; of a file with a map of road its values, which
            may be seen from above.
        truth: what the mask says, at that size; None where the split has no masks.
        chances: the probability of the class that was asked for, 0…1, or None.
    """

    index: int
    class_ids: UInt8[ndarray, "h w"]
    truth: UInt8[ndarray, "H W"] | None
    chances: Float[ndarray, "H W"] | None = None


@dataclass(frozen=True)
class SegmentedBatch:
    """What `on_batch` is shown: scores of the network and truths at the pictures' own sizes."""

    logits: Float[torch.Tensor, "B C H W"]
    truths: tuple[UInt8[ndarray, "_ _"] | None, ...]

    def __len__(self) -> int:
        return len(self.truths)


def segment(
    segmenter: Segmenter,
    dataset: Dataset,
    *,
    batch_size: int = BATCH_SIZE,
    workers: int = 0,
    chances_of: int | None = None,
    on_batch: Callable[[SegmentedBatch], None] | None = None,
    on_bad: Literal["fail", "skip"] = "fail",
    on_skipped: Callable[[Fault], None] | None = None,
    rank: int = 0,
    world: int = 1,
) -> Iterator[Seen]:
    """The segmenter's answers in the order of `dataset.samples`.

    Args:
        segmenter: the segmenter.
        dataset: the pictures, with masks or without.
        batch_size: pictures that go through the network together.
        workers: processes that read.
        chances_of: the class whose probability is wanted too.
        on_batch: is shown every batch, for a loss or a progress bar.
        on_bad: end at a pair that cannot be read, or leave it out.
        on_skipped: is told of each pair that was left out.
        rank: of this process; each takes its own batches of the split.
        world: how many share the work.

    Raises:
        DataError, InputMissingError: a pair cannot be read, and `on_bad` is "fail".
        ConfigError: too little shared memory for the workers.
    """
    options = LoaderOptions(batch_size, workers=workers, on_bad=on_bad)
    prepare = EvalSegmentation(segmenter.network.config.preprocess)
    if not len(dataset):
        return
    with Loader(dataset, prepare, options, Shard(rank, world)) as loader:
        for batch in map(Batch.without_unreadable, loader.epoch()):
            if len(batch):
                yield from _answers(segmenter, batch, chances_of, on_batch)
        if on_skipped is not None:
            for fault in loader.faults:
                on_skipped(fault)


def _answers(
    segmenter: Segmenter,
    batch: Batch[FullSizeMasks],
    chances_of: int | None,
    on_batch: Callable[[SegmentedBatch], None] | None,
) -> Iterator[Seen]:
    sizes_hw = batch.inputs.sizes_hw
    logits = segmenter.forward(batch.inputs)
    truths = tuple(None if mask is None else mask.numpy() for mask in batch.targets.masks)
    if on_batch is not None:
        on_batch(SegmentedBatch(logits, truths))
    maps = [each.class_ids for each in segmenter.postprocess(logits, sizes_hw)]
    rows = zip(batch.indices.tolist(), sizes_hw, truths, logits, maps, strict=True)
    for index, size_hw, truth, scores, class_ids in rows:
        chances = None
        if chances_of is not None:
            seen = postprocess.without_margin(scores, size_hw, segmenter.network.config.preprocess)
            chances = postprocess.probabilities(seen, size_hw)[chances_of].cpu().numpy()
        yield Seen(index, class_ids, truth, chances)


def check_room(dataset: Dataset, preprocess: Preprocess, *, batch_size: int = BATCH_SIZE, workers: int) -> None:
    """Raises ConfigError where pairs that `segment` reads ahead would not fit into shared memory."""
    height, width = preprocess.size_hw
    truth = max((math.prod(sample.size_hw or (0, 0)) for sample in dataset.samples), default=0)
    check_shared_memory(workers * (PREFETCH + 1) * batch_size * (height * width * 3 + truth))
