"""What a segmenter sees in a whole split, beside the truth: the first half of every judgement of a segmenter.

Pictures are read at the network's size by workers, truths at their own; answers are enlarged to the truth's size, so
that what is judged is what a user gets. The split passes once and nothing of it is kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from numpy import ndarray

from singleshot.data.load.order import rank_batches
from singleshot.data.load.packing import PackedSamples, pack
from singleshot.data.load.shared_memory import check_shared_memory
from singleshot.data.load.workers import Begin, Workers
from singleshot.data.masks import files as mask_files
from singleshot.errors import DataError, Fault, InputMissingError, SingleshotError, fault_of
from singleshot.images import read_image
from singleshot.prediction.segmenter import Segmenter
from singleshot.preprocess import Preprocess, to_input
from singleshot.segmentation import postprocess
from singleshot.structures import Dataset, MaskCode

Places = Int[ndarray, " B"]
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
    check_room(dataset, segmenter.network.config.preprocess, batch_size=batch_size, workers=workers)
    read = _Read(pack(dataset.samples), _masks(dataset), dataset.mask_code, segmenter.network.config.preprocess)
    work: Workers[Places, list[_Item]] = Workers(read, workers=workers, file_of=read.images.path, prefetch=PREFETCH)
    batches = rank_batches(np.arange(len(dataset)), batch_size=batch_size)[rank::world]
    try:
        for items in work.run(batches):
            good = []
            for item in items:
                if item.error is None:
                    good.append(item)
                elif on_bad == "fail" or not isinstance(item.error, DataError | InputMissingError):
                    raise item.error
                elif on_skipped is not None:
                    on_skipped(fault_of(item.error, read.images.path(item.index)))
            if good:
                yield from _answers(segmenter, good, chances_of, on_batch)
    finally:
        work.close()


@dataclass(frozen=True)
class _Item:
    """One pair as a worker read it, as tensors: those travel through shared memory."""

    index: int
    image: torch.Tensor
    truth: torch.Tensor | None
    size_hw: tuple[int, int]
    error: SingleshotError | None = None


@dataclass(frozen=True)
class _Read:
    """The work of a worker."""

    images: PackedSamples
    masks: PackedSamples | None
    code: MaskCode | None
    preprocess: Preprocess

    def __call__(self, places: Places, begin: Begin) -> list[_Item]:
        items = []
        for index in places.tolist():
            begin(index)
            try:
                items.append(self._item(index))
            except SingleshotError as error:
                items.append(_Item(index, torch.empty(0), None, (0, 0), error))
        return items

    def _item(self, index: int) -> _Item:
        image = read_image(self.images.path(index))
        size_hw = (image.shape[0], image.shape[1])
        truth = None
        if self.masks is not None and self.code is not None:
            path = self.masks.path(index)
            mask = mask_files.read(path, self.code)
            if mask.shape != size_hw:
                what = f"the mask is {mask.shape[1]}×{mask.shape[0]}, its picture {size_hw[1]}×{size_hw[0]}"
                raise DataError(what, kind="other-size-mask", remedy="Draw it at the picture's size", file=path)
            truth = torch.from_numpy(mask)
        return _Item(index, torch.from_numpy(to_input(image, self.preprocess)), truth, size_hw)


def _masks(dataset: Dataset) -> PackedSamples | None:
    if dataset.mask_code is None or not all(sample.mask_path is not None for sample in dataset.samples):
        return None
    return pack([replace(sample, image_path=sample.mask_path) for sample in dataset.samples])


def _answers(
    segmenter: Segmenter,
    items: list[_Item],
    chances_of: int | None,
    on_batch: Callable[[SegmentedBatch], None] | None,
) -> Iterator[Seen]:
    logits = segmenter.raw(torch.stack([item.image for item in items]))
    truths = tuple(None if item.truth is None else item.truth.numpy() for item in items)
    if on_batch is not None:
        on_batch(SegmentedBatch(logits, truths))
    sizes_hw = [item.size_hw for item in items]
    maps = segmenter.class_maps(logits, sizes_hw)
    for item, truth, scores, class_ids in zip(items, truths, logits, maps, strict=True):
        chances = None
        if chances_of is not None:
            seen = postprocess.without_margin(scores, item.size_hw, segmenter.network.config.preprocess)
            chances = postprocess.probabilities(seen, item.size_hw)[chances_of].cpu().numpy()
        yield Seen(item.index, class_ids, truth, chances)


def check_room(dataset: Dataset, preprocess: Preprocess, *, batch_size: int = BATCH_SIZE, workers: int) -> None:
    """Raises ConfigError where pairs that `segment` reads ahead would not fit into shared memory."""
    height, width = preprocess.size_hw
    truth = max((math.prod(sample.size_hw or (0, 0)) for sample in dataset.samples), default=0)
    check_shared_memory(workers * (PREFETCH + 1) * batch_size * (height * width * 3 + truth))
