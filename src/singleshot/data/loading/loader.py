"""From a data set to batches: read, augment and stack pictures, in other processes where wanted.

A batch is a function of (seed, epoch, its place), so it is the same for any number of workers, and an epoch can be
taken up in its middle. Pixels travel as uint8; floats are made on the device. A picture that cannot be read ends the
epoch with the reader's own error, file and all, or is left out and listed (`on_bad="skip"`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

import numpy as np
import torch
from jaxtyping import Int, UInt8
from numpy import ndarray

from singleshot import pictures
from singleshot.data.augmenting.augment import Augmentation, augment
from singleshot.data.loading.lending import Lender
from singleshot.data.loading.order import batch_count, epoch_order, rank_batches, rng_for
from singleshot.data.loading.packing import PackedSamples, pack
from singleshot.data.loading.sample_table import image_ids
from singleshot.data.loading.shared_memory import check_shared_memory
from singleshot.data.loading.workers import Begin, StartMethod, Workers
from singleshot.data.refusal import OnBad
from singleshot.errors import ConfigError, DataError, Fault, InputMissingError, SingleshotError
from singleshot.structures import Batch, Dataset

Task = tuple[int, Int[ndarray, " B"]]
"""An epoch, and the places in the data set that make up a batch."""


class DetectionLoader:
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
        on_bad: end at a picture that cannot be read, or go on without it: then a batch may be smaller, one that has
            no picture left is not yielded, and `faults` lists the pictures.
        fast_decode: read JPEG faster and not exactly; for training only.
        cache_bytes: memory for decoded pictures, in all workers together. Each worker keeps the first ones that it
            meets, so a data set that fits is decoded at most once by each.
        start_method, timeout_s, prefetch: of the workers, see `workers.Workers`.

    Raises:
        ConfigError: a number out of its range, no picture, too little shared memory, or `drop_last` with fewer
            pictures than one step of all ranks takes.
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
        if batch_size < 1 or seed < 0 or min(size_hw) < 1 or not 0 <= rank < world or cache_bytes < 0:
            what = f"batch size {batch_size}, seed {seed}, size {size_hw}, rank {rank} of {world}, cache {cache_bytes}"
            raise ConfigError(
                what, remedy="Give sizes of 1 or more, a seed and a cache of 0 or more, a rank below world"
            )
        if len(dataset) < (batch_size * world if drop_last else 1):
            what = f"{len(dataset)} pictures of {dataset.split} do not make one batch of {batch_size * world}"
            raise ConfigError(what, remedy="Use a smaller batch or more pictures", file=dataset.root)
        check_shared_memory(workers * (prefetch + 1) * batch_size * size_hw[0] * size_hw[1] * 3)
        self._image_ids = image_ids(dataset.samples)
        self._seed, self._shuffle = seed, shuffle
        self._cut = {"batch_size": batch_size, "drop_last": drop_last, "rank": rank, "world": world}
        packed = pack(dataset.samples, keep_difficult=keep_difficult)
        cache = _Cache(cache_bytes // max(workers, 1))
        self._workers: Workers[Task, _Loaded] = Workers(
            _Load(packed, augmentation, size_hw, fill_rgb, seed, on_bad, fast_decode, cache, Lender()),
            workers=workers,
            file_of=packed.path,
            start_method=start_method,
            timeout_s=timeout_s,
            prefetch=prefetch,
            pin_memory=pin_memory,
        )
        self._faults: dict[Path, Fault] = {}
        self.position = 0
        """How many batches of the running epoch are behind us, skipped ones too: the `start` to continue from."""

    def __len__(self) -> int:
        """Batches in an epoch, on this rank."""
        return batch_count(len(self._image_ids), **self._cut)

    @property
    def faults(self) -> list[Fault]:
        """The pictures that were left out so far, each once."""
        return list(self._faults.values())

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of that epoch from the `start`-th on. One epoch at a time.

        Raises:
            DataError, InputMissingError: a picture cannot be read, and `on_bad` is "fail".
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
            if loaded.batch is not None:
                names = tuple(self._image_ids[index] for index in loaded.batch.indices.tolist())
                yield replace(loaded.batch, image_ids=names)

    def close(self) -> None:
        """End the workers."""
        self._workers.close()

    def __enter__(self) -> DetectionLoader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True)
class _Loaded:
    """What comes back from a worker. An error is a value: raised there, DataLoader would rebuild it as mere text."""

    batch: Batch | None
    faults: tuple[Fault, ...] = ()
    error: SingleshotError | None = None

    def pin_memory(self) -> _Loaded:
        return self if self.batch is None else replace(self, batch=self.batch.pin_memory())


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
    cache: _Cache
    lender: Lender

    def __call__(self, task: Task, begin: Begin) -> _Loaded:
        epoch, indices = task
        images = self.lender.lend((len(indices), *self.size_hw, 3))
        items: list[_Item] = []
        faults: list[Fault] = []
        for index in indices.tolist():
            begin(index)
            try:
                items.append(self._item(epoch, index, images[len(items)]))
            except (DataError, InputMissingError) as error:
                if self.on_bad == "fail":
                    return _Loaded(None, error=error)
                faults.append(_fault(error, self.samples.path(index)))
            except SingleshotError as error:
                return _Loaded(None, error=error)
        return _Loaded(_stack(images[: len(items)], items) if items else None, tuple(faults))

    def _item(self, epoch: int, index: int, slot: UInt8[ndarray, "H W 3"]) -> _Item:
        """The picture, put into its place in the batch, and what comes with it."""
        image = self.cache.get(index)
        if image is None:
            image = self._picture(index)
            self.cache.offer(index, image)
        boxes_xyxy, class_ids = self.samples.annotation(index)
        rng = rng_for(self.seed, epoch, index)
        new_image, new_xyxy, new_ids, _ = augment(
            image,
            boxes_xyxy,
            class_ids,
            augmentation=self.augmentation,
            size_hw=self.size_hw,
            rng=rng,
            fill_rgb=self.fill_rgb,
        )
        slot[:] = new_image
        return index, new_xyxy, new_ids, (image.shape[0], image.shape[1])

    def _picture(self, index: int) -> UInt8[ndarray, "H W 3"]:
        """The pixels, at the size for which the boxes were drawn: a file may lie, or change while we train."""
        path = self.samples.path(index)
        image = pictures.read(path, fast=self.fast_decode)
        said = self.samples.size_hw(index)
        if said is not None and said != image.shape[:2]:
            what = f"{image.shape[1]}×{image.shape[0]} pixels, but it is annotated as {said[1]}×{said[0]}"
            raise DataError(what, kind="wrong-size", remedy="See what `singleshot data check` says of it", file=path)
        return image


_Item = tuple[int, ndarray, ndarray, tuple[int, int]]
"""A picture's place in the data set, its new boxes (N, 4) and class ids (N,), and its size before."""


def _stack(images: UInt8[ndarray, "B H W 3"], items: list[_Item]) -> Batch:
    """The pictures as one batch without names, which the main process knows by the indices."""
    most = max(len(class_ids) for _, _, class_ids, _ in items)
    boxes_xyxy = np.zeros((len(items), most, 4), dtype=np.float32)
    class_ids = np.full((len(items), most), -1, dtype=np.int64)
    for row, (_, some_xyxy, some_ids, _) in enumerate(items):
        boxes_xyxy[row, : len(some_ids)] = some_xyxy
        class_ids[row, : len(some_ids)] = some_ids
    return Batch(
        images=torch.from_numpy(images),
        boxes_xyxy=torch.from_numpy(boxes_xyxy),
        class_ids=torch.from_numpy(class_ids),
        image_ids=("",) * len(items),
        indices=torch.tensor([index for index, _, _, _ in items]),
        sizes_hw=torch.tensor([size_hw for _, _, _, size_hw in items]),
    )


def _fault(error: DataError | InputMissingError, path: Path) -> Fault:
    if isinstance(error, DataError) and error.file is not None:
        return error.as_fault()
    return Fault(path, None, "missing-picture", "fatal", error.what)


class _Cache:
    """Decoded pictures, until the room is used up.

    Nothing is thrown out: an epoch visits each picture once, so the one to go would be wanted as soon as the new one.
    """

    def __init__(self, room: int) -> None:
        self._room, self._images = room, dict[int, UInt8[ndarray, "H W 3"]]()

    def get(self, index: int) -> UInt8[ndarray, "H W 3"] | None:
        return self._images.get(index)

    def offer(self, index: int, image: UInt8[ndarray, "H W 3"]) -> None:
        if image.nbytes <= self._room:
            self._room -= image.nbytes
            self._images[index] = image
