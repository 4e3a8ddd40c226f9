"""From a data set to batches: read, augment and stack pictures, in other processes where wanted.

Pixels travel as uint8; floats are made on the device. `epochs` says in which order batches come and what becomes of
a picture that cannot be read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import UInt8
from numpy import ndarray

from singleshot.data.augment.augment import Augmentation, augment
from singleshot.data.faults import OnBad
from singleshot.data.load.epochs import BLANK_GREY, EpochLoader, Loaded, Share, Task, read_each
from singleshot.data.load.lending import Lender
from singleshot.data.load.order import rng_for
from singleshot.data.load.packing import PackedSamples, pack
from singleshot.data.load.picture_cache import PictureCache
from singleshot.data.load.workers import Begin, StartMethod
from singleshot.errors import DataError
from singleshot.images import read_image
from singleshot.structures import Batch, Dataset


class DetectionLoader(EpochLoader[Batch]):
    """Batches of one split, epoch by epoch.

    Args:
        dataset: the pictures and their boxes. At least one picture.
        size_hw: of the pictures in a batch.
        fill_rgb: keep proportions and fill the margin with this colour (`Preprocess.fill_rgb`); None stretches.
        augmentation: what happens to them; `augment.NONE` for validation.
        batch_size: pictures in a batch, on this rank.
        seed: 0 or more; with the epoch and a picture's place it settles everything random.
        workers: processes that read and augment; 0 for none.
        shuffle: a new order each epoch, or the data set's own.
        drop_last: leave out a last batch that is not full.
        pin_memory: page-locked batches, for a CUDA device.
        rank, world: this process and how many there are; each gets its own share (see `order.rank_batches`).
        keep_difficult: train on boxes marked difficult, as the reference does.
        on_bad: end at a picture that cannot be read, or go on: a blank one without boxes then has its place in the
            batch (`Batch.blank`), and `faults` lists it.
        fast_decode: read JPEG faster and not exactly; for training only.
        cache_bytes: memory for decoded pictures, in all workers together. Each worker keeps the first ones that it
            meets, so a data set that fits is decoded at most once by each.
        start_method, timeout_s, prefetch: of the workers, see `workers.Workers`.

    Raises what `EpochLoader` raises.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        size_hw: tuple[int, int],
        augmentation: Augmentation,
        batch_size: int,
        seed: int,
        workers: int = 0,
        shuffle: bool = True,
        drop_last: bool = False,
        pin_memory: bool = False,
        rank: int = 0,
        world: int = 1,
        keep_difficult: bool = True,
        on_bad: OnBad = "fail",
        fast_decode: bool = False,
        cache_bytes: int = 0,
        start_method: StartMethod | None = None,
        timeout_s: float = 120.0,
        prefetch: int = 2,
        fill_rgb: tuple[int, int, int] | None = None,
    ) -> None:
        packed = pack(dataset.samples, keep_difficult=keep_difficult)
        cache = PictureCache[tuple[UInt8[ndarray, "H W 3"]]](cache_bytes // max(workers, 1))
        super().__init__(
            dataset,
            _Load(packed, augmentation, size_hw, fill_rgb, seed, on_bad, fast_decode, cache, Lender()),
            file_of=packed.path,
            share=Share(batch_size=batch_size, drop_last=drop_last, rank=rank, world=world),
            seed=seed,
            shuffle=shuffle,
            picture_bytes=max(size_hw[0], 0) * max(size_hw[1], 0) * 3,
            workers=workers,
            pin_memory=pin_memory,
            start_method=start_method,
            timeout_s=timeout_s,
            prefetch=prefetch,
        )


_Labels: TypeAlias = tuple[ndarray, ndarray, tuple[int, int]]
"""A picture's new boxes (N, 4) and class ids (N,), and its size before."""
_BLANK: _Labels = (np.zeros((0, 4), np.float32), np.zeros(0, np.int64), (0, 0))


@dataclass(frozen=True)
class _Load:
    """The work of a worker: from the places in the data set to a batch."""

    samples: PackedSamples
    augmentation: Augmentation
    size_hw: tuple[int, int]
    fill_rgb: tuple[int, int, int] | None
    seed: int
    on_bad: OnBad
    fast_decode: bool
    cache: PictureCache[tuple[UInt8[ndarray, "H W 3"]]]
    lender: Lender

    def __call__(self, task: Task, begin: Begin) -> Loaded[Batch]:
        epoch, indices = task
        images = self.lender.lend((len(indices), *self.size_hw, 3))
        labels = [_BLANK] * len(indices)

        def read(row: int, index: int) -> None:
            labels[row] = self._put(epoch, index, images[row])

        faults, error = read_each(indices, begin, read, on_bad=self.on_bad, file_of=self.samples.path)
        if error is not None:
            return Loaded(None, error=error)
        images[list(faults)] = BLANK_GREY
        return Loaded(_stack(images, labels, indices), tuple(faults.values()))

    def _put(self, epoch: int, index: int, slot: UInt8[ndarray, "H W 3"]) -> _Labels:
        """Put the picture into its place in the batch; what comes with it."""
        (image,) = self.cache.get(index, self._picture)
        boxes_xyxy, class_ids = self.samples.annotation(index)
        new_image, new_xyxy, new_ids, _ = augment(
            image,
            boxes_xyxy,
            class_ids,
            augmentation=self.augmentation,
            size_hw=self.size_hw,
            rng=rng_for(self.seed, epoch, index),
            fill_rgb=self.fill_rgb,
        )
        slot[:] = new_image
        return new_xyxy, new_ids, (image.shape[0], image.shape[1])

    def _picture(self, index: int) -> tuple[UInt8[ndarray, "H W 3"]]:
        """The pixels, at the size for which the boxes were drawn: a file may lie, or change while we train."""
        path = self.samples.path(index)
        image = read_image(path, fast=self.fast_decode)
        said = self.samples.size_hw(index)
        if said is not None and said != image.shape[:2]:
            what = f"{image.shape[1]}×{image.shape[0]} pixels, but it is annotated as {said[1]}×{said[0]}"
            raise DataError(what, kind="wrong-size", remedy="See what `singleshot data check` says of it", file=path)
        return (image,)


def _stack(images: UInt8[ndarray, "B H W 3"], labels: list[_Labels], indices: ndarray) -> Batch:
    """The pictures as one batch without names, which the main process knows by the indices."""
    most = max(len(class_ids) for _, class_ids, _ in labels)
    boxes_xyxy = np.zeros((len(labels), most, 4), dtype=np.float32)
    class_ids = np.full((len(labels), most), -1, dtype=np.int64)
    for row, (some_xyxy, some_ids, _) in enumerate(labels):
        boxes_xyxy[row, : len(some_ids)] = some_xyxy
        class_ids[row, : len(some_ids)] = some_ids
    return Batch(
        images=torch.from_numpy(images),
        boxes_xyxy=torch.from_numpy(boxes_xyxy),
        class_ids=torch.from_numpy(class_ids),
        image_ids=("",) * len(labels),
        indices=torch.from_numpy(indices.astype(np.int64)),
        sizes_hw=torch.tensor([size_hw for _, _, size_hw in labels]),
    )
