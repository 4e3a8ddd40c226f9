"""From a data set with masks to batches: the detector's loader with a mask in the place of boxes.

The same workers, the same order, the same addresses of randomness. The original prepared its pictures one after the
other in the main thread, which made a V100 slower than a 1080 Ti. A tile whose mask is void all over teaches nothing;
it keeps its place in the batch and is counted, and a picture that is void all over is named.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import UInt8
from numpy import ndarray

from singleshot.data.augment.augment import Augmentation
from singleshot.data.augment.augment_masks import augment_pair
from singleshot.data.faults import OnBad
from singleshot.data.load.epochs import BLANK_GREY, EpochLoader, Loaded, Share, Task, read_each
from singleshot.data.load.lending import Lender
from singleshot.data.load.mask_batch import MaskBatch
from singleshot.data.load.order import rng_for
from singleshot.data.load.packing import PackedSamples, pack
from singleshot.data.load.picture_cache import PictureCache
from singleshot.data.load.workers import Begin, StartMethod
from singleshot.data.masks import files as mask_files
from singleshot.errors import ConfigError, DataError, Fault
from singleshot.images import read_image
from singleshot.preprocess import Preprocess
from singleshot.structures import VOID, Dataset, MaskCode


class MaskLoader(EpochLoader[MaskBatch]):
    """Batches of one split with masks, epoch by epoch.

    Args:
        dataset: the pictures and their masks. At least one.
        preprocess: the network's; batches have its `size_hw`.
        augmentation: what happens to each pair.
        batch_size: pictures in a batch, on this rank.
        seed: 0 or more; with the epoch and a picture's place it settles everything random.
        workers: processes that read and augment; 0 for none.
        shuffle, drop_last, pin_memory, rank, world: as of `loader.DetectionLoader`.
        on_bad: end at a pair that cannot be read, or go on: a blank picture with a void mask then has its place in the
            batch, and `faults` lists it.
        fast_decode: read JPEG faster and not exactly; for training only.
        cache_bytes: memory for decoded pairs, in all workers together; each worker keeps the first that it meets.
        start_method, timeout_s, prefetch: of the workers, see `workers.Workers`.

    Raises what `EpochLoader` raises, and ConfigError for samples without masks.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        preprocess: Preprocess,
        augmentation: Augmentation,
        batch_size: int,
        seed: int,
        workers: int = 0,
        shuffle: bool = True,
        drop_last: bool = False,
        pin_memory: bool = False,
        rank: int = 0,
        world: int = 1,
        on_bad: OnBad = "fail",
        fast_decode: bool = False,
        cache_bytes: int = 0,
        start_method: StartMethod | None = None,
        timeout_s: float = 120.0,
        prefetch: int = 2,
    ) -> None:
        pairs = MaskPairs.of(dataset, fast_decode=fast_decode)
        cache = PictureCache[tuple[UInt8[ndarray, "H W 3"], UInt8[ndarray, "H W"]]](cache_bytes // max(workers, 1))
        height, width = preprocess.size_hw
        super().__init__(
            dataset,
            _Load(pairs, augmentation, preprocess, seed, on_bad, cache, (Lender(), Lender())),
            file_of=pairs.images.path,
            share=Share(batch_size=batch_size, drop_last=drop_last, rank=rank, world=world),
            seed=seed,
            shuffle=shuffle,
            picture_bytes=height * width * 4,
            workers=workers,
            pin_memory=pin_memory,
            start_method=start_method,
            timeout_s=timeout_s,
            prefetch=prefetch,
        )


@dataclass(frozen=True)
class MaskPairs:
    """What reading needs of a data set with masks, small enough to send to workers."""

    images: PackedSamples
    masks: PackedSamples
    code: MaskCode
    fast_decode: bool = False

    @staticmethod
    def of(dataset: Dataset, *, fast_decode: bool = False) -> MaskPairs:
        """Raises ConfigError where a sample has no mask."""
        if dataset.mask_code is None or any(sample.mask_path is None for sample in dataset.samples):
            what = f"the split {dataset.split} has no masks"
            raise ConfigError(what, remedy="Name a split with masks", file=dataset.root)
        as_pictures = [replace(sample, image_path=sample.mask_path) for sample in dataset.samples]
        return MaskPairs(pack(dataset.samples), pack(as_pictures), dataset.mask_code, fast_decode)

    def read(self, index: int) -> tuple[UInt8[ndarray, "H W 3"], UInt8[ndarray, "H W"]]:
        """Picture and mask at their own size. Raises what `read_image` and `mask_files.read` raise."""
        image = read_image(self.images.path(index), fast=self.fast_decode)
        path = self.masks.path(index)
        mask = mask_files.read(path, self.code)
        if mask.shape != image.shape[:2]:  # the reader looked at headers; the file may have changed since
            what = f"the mask is {mask.shape[1]}×{mask.shape[0]}, its picture {image.shape[1]}×{image.shape[0]}"
            raise DataError(what, kind="other-size-mask", remedy="Draw it at the picture's size", file=path)
        return image, mask


@dataclass(frozen=True)
class _Load:
    """The work of a worker: from the places in the data set to a batch."""

    pairs: MaskPairs
    augmentation: Augmentation
    preprocess: Preprocess
    seed: int
    on_bad: OnBad
    cache: PictureCache[tuple[UInt8[ndarray, "H W 3"], UInt8[ndarray, "H W"]]]
    lenders: tuple[Lender, Lender]

    def __call__(self, task: Task, begin: Begin) -> Loaded[MaskBatch]:
        epoch, indices = task
        tile = (len(indices), *self.preprocess.size_hw)
        images, masks = self.lenders[0].lend((*tile, 3)), self.lenders[1].lend(tile)
        void: list[Fault] = []

        def read(row: int, index: int) -> None:
            image, mask = self.cache.get(index, self.pairs.read)
            images[row], masks[row] = augment_pair(
                image,
                mask,
                augmentation=self.augmentation,
                size_hw=self.preprocess.size_hw,
                rng=rng_for(self.seed, epoch, index),
                fill_rgb=self.preprocess.fill_rgb,
            )
            if (masks[row] == VOID).all() and (mask == VOID).all():
                what = "the mask is void all over: nothing is learned from the picture. Draw something or delete it"
                void.append(Fault(self.pairs.masks.path(index), None, "void-mask", "warning", what))

        faults, error = read_each(indices, begin, read, on_bad=self.on_bad, file_of=self.pairs.images.path)
        if error is not None:
            return Loaded(None, error=error)
        images[list(faults)], masks[list(faults)] = BLANK_GREY, VOID
        batch = MaskBatch(
            images=torch.from_numpy(images),
            masks=torch.from_numpy(masks),
            image_ids=("",) * len(indices),
            indices=torch.from_numpy(indices.astype(np.int64)),
            blank=torch.from_numpy((masks == VOID).all(axis=(1, 2))),
        )
        return Loaded(batch, (*faults.values(), *void))
