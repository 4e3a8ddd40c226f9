"""From a data set with masks to batches: the detector's loader with a mask in the place of boxes.

The same workers, the same order, the same addresses of randomness: a batch is a function of (seed, epoch, its place).
The original prepared its pictures one after the other in the main thread, which made a V100 slower than a 1080 Ti.
A picture whose mask is void all over teaches nothing and is left out of its batch, counted and named.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Literal

import numpy as np
import torch
from jaxtyping import Int, UInt8
from numpy import ndarray

from singleshot import pictures
from singleshot.data.augmenting.augment import Augmentation
from singleshot.data.augmenting.augment_masks import augment_pair
from singleshot.data.label_maps import mask_files
from singleshot.data.loading.order import batch_count, epoch_order, rank_batches, rng_for
from singleshot.data.loading.packing import PackedSamples, pack
from singleshot.data.loading.shared_memory import check_shared_memory
from singleshot.data.loading.workers import Begin, StartMethod, Workers
from singleshot.errors import ConfigError, DataError, Fault, InputMissingError, SingleshotError
from singleshot.preprocess import Preprocess
from singleshot.structures import VOID, Dataset, MaskCode

OnBad = Literal["fail", "skip"]
Task = tuple[int, Int[ndarray, " B"]]
"""An epoch, and the places in the data set that make up a batch."""


@dataclass(frozen=True)
class MaskBatch:
    """Pictures and their masks, ready for the device.

    Args:
        images: (B, H, W, 3) uint8 RGB at network size; made float on the device.
        masks: (B, H, W) uint8 class ids, `VOID` where nothing is to be learnt.
        image_ids: names of the pictures, for messages.
        indices: (B,) their places in the data set.
    """

    images: UInt8[torch.Tensor, "B H W 3"]
    masks: UInt8[torch.Tensor, "B H W"]
    image_ids: tuple[str, ...]
    indices: Int[torch.Tensor, " B"]

    def __len__(self) -> int:
        return len(self.image_ids)

    def to(self, device: torch.device | str) -> MaskBatch:
        """The same batch with pixels and masks on a device; names and places stay."""
        images, masks = self.images.to(device, non_blocking=True), self.masks.to(device, non_blocking=True)
        return replace(self, images=images, masks=masks)

    def pin_memory(self) -> MaskBatch:
        """The same batch in page-locked memory; the loader calls this where there is a CUDA device."""
        return replace(self, images=self.images.pin_memory(), masks=self.masks.pin_memory())


class MaskLoader:
    """Batches of one split with masks, epoch by epoch.

    Args:
        dataset: the pictures and their masks. At least one.
        preprocess: the network's; batches have its `size_hw`.
        augmentation: what happens to each pair.
        batch_size: pictures in a batch, on this rank.
        seed: 0 or more; with the epoch and a picture's place it settles everything random.
        workers: processes that read and augment; 0 for none.
        shuffle, drop_last, pin_memory, rank, world: as of `loader.DetectionLoader`.
        on_bad: end at a pair that cannot be read, or go on without it and list it in `faults`.
        fast_decode: read JPEG faster and not exactly; for training only.
        cache_bytes: memory for decoded pairs, in all workers together; each worker keeps the first that it meets.
        start_method, timeout_s, prefetch: of the workers, see `workers.Workers`.

    Raises:
        ConfigError: a number out of its range, samples without masks, or too little shared memory.
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
        if batch_size < 1 or seed < 0 or not 0 <= rank < world or cache_bytes < 0:
            what = f"batch size {batch_size}, seed {seed}, rank {rank} of {world}, cache {cache_bytes}"
            raise ConfigError(
                what, remedy="Give a size of 1 or more, a seed and a cache of 0 or more, a rank below world"
            )
        if len(dataset) < (batch_size * world if drop_last else 1):
            what = f"{len(dataset)} pictures of {dataset.split} do not make one batch of {batch_size * world}"
            raise ConfigError(what, remedy="Use a smaller batch or more pictures", file=dataset.root)
        height, width = preprocess.size_hw
        check_shared_memory(workers * (prefetch + 1) * batch_size * height * width * 4)
        self._image_ids = [sample.image_id for sample in dataset.samples]
        self._seed, self._shuffle = seed, shuffle
        self._cut = {"batch_size": batch_size, "drop_last": drop_last, "rank": rank, "world": world}
        pairs = MaskPairs.of(dataset, fast_decode=fast_decode)
        cache = PairCache(cache_bytes // max(workers, 1))
        self._workers: Workers[Task, _Loaded] = Workers(
            _Load(pairs, augmentation, preprocess, seed, on_bad, cache),
            workers=workers,
            file_of=pairs.images.path,
            start_method=start_method,
            timeout_s=timeout_s,
            prefetch=prefetch,
            pin_memory=pin_memory,
        )
        self._faults: dict[Path, Fault] = {}
        self.position = 0
        """How many batches of the running epoch are behind us, skipped ones too: the `start` to continue from."""
        self.void_tiles = 0
        """How many augmented tiles were left out so far because they were void all over."""

    def __len__(self) -> int:
        """Batches in an epoch, on this rank."""
        return batch_count(len(self._image_ids), **self._cut)

    @property
    def faults(self) -> list[Fault]:
        """The pairs that were left out so far, each once: unreadable ones, and pictures that are all void."""
        return list(self._faults.values())

    def epoch(self, epoch: int, start: int = 0) -> Iterator[MaskBatch]:
        """The batches of that epoch from the `start`-th on. A batch may be smaller where tiles were void.

        Raises:
            DataError, InputMissingError: a pair cannot be read, and `on_bad` is "fail".
            NotPermittedError, StorageError: nor can it with any `on_bad` where the file system is at fault.
            StoppedError: a worker died or hangs.
        """
        order = epoch_order(len(self._image_ids), seed=self._seed, epoch=epoch, shuffle=self._shuffle)
        tasks: list[Task] = [(epoch, indices) for indices in rank_batches(order, start=start, **self._cut)]
        self.position = start
        for loaded in self._workers.run(tasks):
            self.position += 1
            if loaded.error is not None:
                raise loaded.error
            self._faults |= {fault.file: fault for fault in loaded.faults}
            self.void_tiles += loaded.void_tiles
            if loaded.batch is not None:
                names = tuple(self._image_ids[index] for index in loaded.batch.indices.tolist())
                yield replace(loaded.batch, image_ids=names)

    def close(self) -> None:
        """End the workers."""
        self._workers.close()

    def __enter__(self) -> MaskLoader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


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
        """Picture and mask at their own size. Raises what `pictures.read` and `mask_files.read` raise."""
        image = pictures.read(self.images.path(index), fast=self.fast_decode)
        path = self.masks.path(index)
        mask = mask_files.read(path, self.code)
        if mask.shape != image.shape[:2]:  # the reader looked at headers; the file may have changed since
            what = f"the mask is {mask.shape[1]}×{mask.shape[0]}, its picture {image.shape[1]}×{image.shape[0]}"
            raise DataError(what, kind="other-size-mask", remedy="Draw it at the picture's size", file=path)
        return image, mask


class PairCache:
    """Decoded pairs, until the room is used up; nothing is thrown out, for an epoch visits each pair once."""

    def __init__(self, room: int) -> None:
        self._room, self._pairs = room, dict[int, tuple[UInt8[ndarray, "H W 3"], UInt8[ndarray, "H W"]]]()

    def get(self, index: int, pairs: MaskPairs) -> tuple[UInt8[ndarray, "H W 3"], UInt8[ndarray, "H W"]]:
        """The pair, kept or read."""
        if index in self._pairs:
            return self._pairs[index]
        image, mask = pairs.read(index)
        if image.nbytes + mask.nbytes <= self._room:
            self._room -= image.nbytes + mask.nbytes
            self._pairs[index] = (image, mask)
        return image, mask


@dataclass(frozen=True)
class _Loaded:
    """What comes back from a worker. An error is a value: raised there, DataLoader would rebuild it as mere text."""

    batch: MaskBatch | None
    faults: tuple[Fault, ...] = ()
    void_tiles: int = 0
    error: SingleshotError | None = None

    def pin_memory(self) -> _Loaded:
        return self if self.batch is None else replace(self, batch=self.batch.pin_memory())


@dataclass(frozen=True)
class _Load:
    """The work of a worker: from the places in the data set to a batch."""

    pairs: MaskPairs
    augmentation: Augmentation
    preprocess: Preprocess
    seed: int
    on_bad: OnBad
    cache: PairCache

    def __call__(self, task: Task, begin: Begin) -> _Loaded:
        epoch, indices = task
        tiles: list[tuple[int, UInt8[ndarray, "H W 3"], UInt8[ndarray, "H W"]]] = []
        faults: list[Fault] = []
        void_tiles = 0
        for index in indices.tolist():
            begin(index)
            try:
                image, mask = self.cache.get(index, self.pairs)
            except (DataError, InputMissingError) as error:
                if self.on_bad == "fail":
                    return _Loaded(None, error=error)
                faults.append(_fault(error, self.pairs.images.path(index)))
                continue
            except SingleshotError as error:
                return _Loaded(None, error=error)
            image, tile = augment_pair(
                image,
                mask,
                augmentation=self.augmentation,
                size_hw=self.preprocess.size_hw,
                rng=rng_for(self.seed, epoch, index),
                fill_rgb=self.preprocess.fill_rgb,
            )
            if (tile == VOID).all():
                void_tiles += 1
                if (mask == VOID).all():
                    what = "the mask is void all over; the picture is left out. Draw something or delete it"
                    faults.append(Fault(self.pairs.masks.path(index), None, "void-mask", "warning", what))
            else:
                tiles.append((index, image, tile))
        return _Loaded(_stack(tiles) if tiles else None, tuple(faults), void_tiles)


def _stack(tiles: list[tuple[int, UInt8[ndarray, "H W 3"], UInt8[ndarray, "H W"]]]) -> MaskBatch:
    return MaskBatch(
        images=torch.from_numpy(np.stack([image for _, image, _ in tiles])),
        masks=torch.from_numpy(np.stack([mask for _, _, mask in tiles])),
        image_ids=("",) * len(tiles),
        indices=torch.tensor([index for index, _, _ in tiles]),
    )


def _fault(error: DataError | InputMissingError, path: Path) -> Fault:
    if isinstance(error, DataError) and error.file is not None:
        return error.as_fault()
    return Fault(path, None, "missing-picture", "fatal", error.what)
