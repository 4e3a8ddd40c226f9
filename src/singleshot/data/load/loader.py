"""From a data set to batches: read images, prepare them (augment or only resize) and stack them, in worker processes.

`Loader` is the one loader; what it makes of an image is settled by a callable:

    TrainDetection       augmented images, with boxes padded to one size
    EvalDetection        resized images and boxes, nothing random
    TrainSegmentation    augmented images, with masks at network size
    EvalSegmentation     resized images, with masks at the size of their files
    CountPixels          no images, but the number of pixels of each class

Images travel as uint8; floats are made on the device. A batch is a function of (seed, epoch, its position), so it is
the same for any number of workers, and an epoch can be resumed in its middle. An image that cannot be read ends the
epoch with the reader's own error, or is listed, and a blank image that teaches nothing takes its row
(`on_bad="skip"`). The row is not left out: the ranks of a run take their steps together, and one with a batch less
would leave the others waiting for ever.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Generic, Literal, NamedTuple, TypeAlias, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from numpy import ndarray

from singleshot.data.augment.augment import NONE, Augmentation, augment
from singleshot.data.augment.mosaic import CROP, PARTS, Part, mosaic
from singleshot.data.faults import OnBad
from singleshot.data.load.memory import BlockPool, ImageCache, check_shared_memory
from singleshot.data.load.order import batch_count, copy_numbers, epoch_order, rank_batches, rng_for
from singleshot.data.load.samples import PackedSamples, image_ids, pack
from singleshot.data.load.workers import Begin, StartMethod, Workers
from singleshot.data.masks import files as mask_files
from singleshot.errors import ConfigError, DataError, Fault, InputMissingError, SingleshotError, fault_of
from singleshot.images import read_image
from singleshot.preprocess import Preprocess, to_input
from singleshot.structures import VOID, Batch, BoxTargets, Dataset, FullSizeMasks, Sample, Targets

BLANK_GREY = 127
"""Every channel of a blank image: in the middle, so that norm layers hardly notice it."""
NO_IMAGE = np.zeros((0, 0, 3), np.uint8)

TargetT = TypeVar("TargetT")
BatchTargets = TypeVar("BatchTargets", bound=Targets)


class Annotation(NamedTuple):
    """The annotation of an image file.

    Args:
        boxes_xyxy: (N, 4) pixels; N may be 0.
        class_ids: (N,) 0-based.
        mask: (H, W) class ids and `VOID`; None where it is not asked for or there is none.
        mask_path: the mask's file.
    """

    boxes_xyxy: Float[ndarray, "N 4"]
    class_ids: Int[ndarray, " N"]
    mask: UInt8[ndarray, "H W"] | None
    mask_path: Path | None


@dataclass(frozen=True)
class Prepared(Generic[TargetT]):
    """One row of a batch.

    Args:
        image_rgb: (H, W, 3) uint8 at network size.
        target: its target.
        blank: nothing can be learned from it.
        fault: what is wrong with its annotation, though it can be used.
    """

    image_rgb: UInt8[ndarray, "H W 3"]
    target: TargetT
    blank: bool = False
    fault: Fault | None = None


@dataclass(frozen=True)
class Prepare(ABC, Generic[TargetT, BatchTargets]):
    """Turns an image file's pixels and annotation into a row of a batch, and the rows' targets into those of a batch.

    It is sent to the workers, so it must pickle.

    Args:
        preprocess: the network's; images in a batch have its size.
    """

    reads_images: ClassVar[bool] = True
    """Whether image files are read."""
    masks: ClassVar[Literal["none", "optional", "required"]] = "none"
    """Whether mask files are read: `optional` where every sample has one, `required` refuses samples without."""

    preprocess: Preprocess

    @abstractmethod
    def __call__(
        self, image_rgb: UInt8[ndarray, "_ _ 3"], annotation: Annotation, rng: np.random.Generator, /
    ) -> Prepared[TargetT]:
        """Returns a row of a batch; a function of the arguments."""

    def partners(self, _rng: np.random.Generator, _images: int, /) -> tuple[int, ...]:
        """Returns the indices of the images that are put together with this one, of so many; none."""
        return ()

    def combined(
        self, parts: Sequence[tuple[UInt8[ndarray, "_ _ 3"], Annotation]], rng: np.random.Generator, /
    ) -> Prepared[TargetT]:
        """Returns a row of a batch from an image and its partners; here from the image alone."""
        image_rgb, annotation = parts[0]
        return self(image_rgb, annotation, rng)

    @abstractmethod
    def collate(self, targets: Sequence[TargetT | None]) -> BatchTargets:
        """Returns the targets of a batch; None stands for the target of an image that could not be read."""

    def target_bytes(self, _samples: Sequence[Sample]) -> int:
        """Returns the memory of the largest target: next to nothing, if it is not a mask."""
        return 0

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the images in a batch."""
        return self.preprocess.size_hw


BoxTarget: TypeAlias = tuple[Float[ndarray, "_ 4"], Int[ndarray, " _"]]
"""Boxes in pixels of the new image, and their class ids."""


@dataclass(frozen=True)
class TrainDetection(Prepare[BoxTarget, BoxTargets]):
    """Prepares training of a detector: augmented images, and boxes padded to the image with the most.

    Args:
        preprocess: the network's.
        augmentation: the probabilities.
    """

    augmentation: Augmentation

    def __call__(
        self, image_rgb: UInt8[ndarray, "_ _ 3"], annotation: Annotation, rng: np.random.Generator, /
    ) -> Prepared[BoxTarget]:
        """Returns the augmented image and its boxes."""
        found = augment(
            image_rgb,
            annotation.boxes_xyxy,
            augmentation=self.augmentation,
            size_hw=self.size_hw,
            rng=rng,
            fill_rgb=self.preprocess.fill_rgb,
        )
        return Prepared(found.image_rgb, (found.boxes_xyxy, annotation.class_ids[found.rows]))

    def partners(self, rng: np.random.Generator, images: int, /) -> tuple[int, ...]:
        """Returns three other images, by the probability of a mosaic."""
        # Nothing is drawn without one, so that older recipes get the numbers that they always got.
        if not self.augmentation.mosaic_probability or rng.random() >= self.augmentation.mosaic_probability:
            return ()
        return tuple(rng.integers(images, size=PARTS - 1).tolist())

    def combined(
        self, parts: Sequence[tuple[UInt8[ndarray, "_ _ 3"], Annotation]], rng: np.random.Generator, /
    ) -> Prepared[BoxTarget]:
        """Returns the augmented mosaic and its boxes."""
        pieces = [Part(image, annotation.boxes_xyxy, annotation.class_ids) for image, annotation in parts]
        whole = mosaic(pieces, self.size_hw, rng, self.augmentation.mean_rgb)
        plain = replace(self.augmentation, expand_probability=0.0, samplers=(CROP,))
        annotation = Annotation(whole.boxes_xyxy, whole.class_ids, None, None)
        return replace(self, augmentation=plain)(whole.image_rgb, annotation, rng)

    def collate(self, targets: Sequence[BoxTarget | None]) -> BoxTargets:
        """Returns the boxes, padded."""
        rows = max((len(target[1]) for target in targets if target is not None), default=0)
        boxes_xyxy = np.zeros((len(targets), rows, 4), dtype=np.float32)
        class_ids = np.full((len(targets), rows), -1, dtype=np.int64)
        for row, target in enumerate(targets):
            if target is not None:
                boxes_xyxy[row, : len(target[1])], class_ids[row, : len(target[1])] = target
        return BoxTargets(torch.from_numpy(boxes_xyxy), torch.from_numpy(class_ids))


@dataclass(frozen=True)
class EvalDetection(TrainDetection):
    """Prepares evaluation of a detector: images and boxes are only resized."""

    augmentation: Augmentation = field(default=NONE, init=False)


@dataclass(frozen=True)
class TrainSegmentation(Prepare[UInt8[ndarray, "H W"], torch.Tensor]):
    """Prepares training of a segmenter: augmented images with masks at network size.

    A tile whose mask is void all over teaches nothing; it keeps its row in the batch and is counted as blank, and a
    file that is void all over is a fault.

    Args:
        preprocess: the network's.
        augmentation: the probabilities.
    """

    masks = "required"
    augmentation: Augmentation
    _pool: BlockPool = field(default_factory=BlockPool, init=False, repr=False, compare=False)

    def __call__(
        self, image_rgb: UInt8[ndarray, "_ _ 3"], annotation: Annotation, rng: np.random.Generator, /
    ) -> Prepared[UInt8[ndarray, "H W"]]:
        """Returns the augmented image and mask."""
        found = augment(
            image_rgb,
            mask=annotation.mask,
            augmentation=self.augmentation,
            size_hw=self.size_hw,
            rng=rng,
            fill_rgb=self.preprocess.fill_rgb,
        )
        mask, fault = found.mask, None
        if mask is None or annotation.mask is None or annotation.mask_path is None:
            raise ValueError("an image without a mask")
        blank = bool((mask == VOID).all())
        if blank and (annotation.mask == VOID).all():
            message = "the mask is void all over: nothing is learned from the image. Draw something or delete it"
            fault = Fault(annotation.mask_path, None, "void-mask", "warning", message)
        return Prepared(found.image_rgb, mask, blank, fault)

    def collate(self, targets: Sequence[UInt8[ndarray, "H W"] | None]) -> torch.Tensor:
        """Returns (B, H, W) uint8 masks."""
        masks = self._pool.array((len(targets), *self.size_hw))
        for row, mask in enumerate(targets):
            masks[row] = VOID if mask is None else mask
        return torch.from_numpy(masks)

    def target_bytes(self, _samples: Sequence[Sample]) -> int:
        """Returns the bytes of a mask at network size."""
        return self.size_hw[0] * self.size_hw[1]


@dataclass(frozen=True)
class EvalSegmentation(Prepare[UInt8[ndarray, "_ _"] | None, FullSizeMasks]):
    """Prepares evaluation of a segmenter: resized images, with masks (where there are any) at the size of their files.

    Args:
        preprocess: the network's.
    """

    masks = "optional"

    def __call__(
        self, image_rgb: UInt8[ndarray, "_ _ 3"], annotation: Annotation, _rng: np.random.Generator, /
    ) -> Prepared[UInt8[ndarray, "_ _"] | None]:
        """Returns the resized image and the mask as it is."""
        return Prepared(to_input(image_rgb, self.preprocess), annotation.mask)

    def collate(self, targets: Sequence[UInt8[ndarray, "_ _"] | None]) -> FullSizeMasks:
        """Returns the masks, each at its own size."""
        return FullSizeMasks(tuple(None if mask is None else torch.from_numpy(mask) for mask in targets))

    def target_bytes(self, samples: Sequence[Sample]) -> int:
        """Returns the bytes of the largest mask."""
        sizes_hw = (sample.size_hw or (0, 0) for sample in samples)
        return max((height * width for height, width in sizes_hw), default=0)


@dataclass(frozen=True)
class CountPixels(Prepare[Int[ndarray, " C"], torch.Tensor]):
    """Counts the pixels of each class in mask files, without reading images.

    Args:
        classes: how many there are.
    """

    reads_images = False
    masks = "required"
    preprocess: Preprocess = field(default=Preprocess(), init=False)
    classes: int

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the empty images: 0."""
        return 0, 0

    def __call__(
        self, image_rgb: UInt8[ndarray, "0 0 3"], annotation: Annotation, _rng: np.random.Generator, /
    ) -> Prepared[Int[ndarray, " C"]]:
        """Returns an empty image and the pixels of each class."""
        if annotation.mask is None:
            raise ValueError("an image without a mask")
        return Prepared(image_rgb, mask_files.pixels_per_class(annotation.mask, self.classes))

    def collate(self, targets: Sequence[Int[ndarray, " C"] | None]) -> torch.Tensor:
        """Returns (B, C) pixels of each class in each mask, 0 for one that could not be read."""
        none = np.zeros(self.classes, np.int64)
        return torch.from_numpy(np.stack([none if counts is None else counts for counts in targets]))


@dataclass(frozen=True)
class LoaderOptions:
    """How a data set is read.

    Args:
        batch_size: images in a batch, on each rank.
        seed: 0 or more; with the epoch and an image's index it settles everything random.
        shuffle: a new order each epoch, or the data set's own.
        factors: (N,) how often each image comes in an epoch, relative to others, see `order.repeat_factors`; None for
            once each.
        drop_last: leave out a last step that is not full.
        keep_difficult: load boxes marked difficult too, as the reference trains on them.
        on_bad: end at an image that cannot be read, or go on: a blank one then takes its row in the batch
            (`Batch.blank`), and `Loader.faults` lists it.
        fast_decode: read JPEG faster and not exactly; for training only.
        cache_bytes: memory for decoded images, in all workers together. Each worker keeps the first ones that it
            reads, so each decodes a data set that fits at most once.
        workers: processes that read and prepare; 0 for none.
        pin_memory: page-locked batches, for a CUDA device.
        start_method, timeout_s, prefetch: of the workers, see `workers.Workers`.
    """

    batch_size: int
    seed: int = 0
    shuffle: bool = False
    factors: Float[ndarray, " N"] | None = None
    drop_last: bool = False
    keep_difficult: bool = True
    on_bad: OnBad = "fail"
    fast_decode: bool = False
    cache_bytes: int = 0
    workers: int = 0
    pin_memory: bool = False
    start_method: StartMethod | None = None
    timeout_s: float = 120.0
    prefetch: int = 2


@dataclass(frozen=True)
class Shard:
    """The part of each epoch that one process loads: every `world`-th batch from its `rank`-th on."""

    rank: int = 0
    world: int = 1


ALL = Shard()


class Loader(Generic[BatchTargets]):
    """The batches of one split, epoch by epoch.

    Args:
        dataset: the images and annotations. At least one image if they are shuffled, as training does.
        prepare: what becomes of each image, see the head of this file.
        options: how they are read.
        shard: which batches this process loads.

    Raises:
        ConfigError: a number out of its range, no image, samples without the masks that `prepare` needs, too little
            shared memory, or `drop_last` with fewer images than one step of all ranks takes.
    """

    def __init__(
        self, dataset: Dataset, prepare: Prepare[Any, BatchTargets], options: LoaderOptions, shard: Shard = ALL
    ) -> None:
        size, rank, world = options.batch_size, shard.rank, shard.world
        if size < 1 or options.seed < 0 or min(prepare.size_hw) < prepare.reads_images or not 0 <= rank < world:
            height, width = prepare.size_hw
            message = f"batch size {size}, seed {options.seed}, rank {rank} of {world}, images of {width}×{height}"
            raise ConfigError(message, remedy="Give sizes of 1 or more, a seed of 0 or more, a rank below world")
        if len(dataset) < (size * world if options.drop_last else int(options.shuffle)):
            message = f"{len(dataset)} images of {dataset.split} do not make one batch of {size * world}"
            raise ConfigError(message, remedy="Use a smaller batch or more images", file=dataset.root)
        samples = pack(dataset.samples, mask_code=dataset.mask_code, keep_difficult=options.keep_difficult)
        if prepare.masks == "required" and samples.mask_code is None:
            message = f"the split {dataset.split} has no masks"
            raise ConfigError(message, remedy="Name a split with masks", file=dataset.root)
        image_bytes = prepare.size_hw[0] * prepare.size_hw[1] * 3 + prepare.target_bytes(dataset.samples)
        check_shared_memory(options.workers * (options.prefetch + 1) * size * image_bytes)
        self.options, self.shard = options, shard
        self._image_ids = image_ids(dataset.samples)
        self._workers: Workers[_Task, _Loaded[BatchTargets]] = Workers(
            _Work(samples, prepare, options, ImageCache(options.cache_bytes // max(options.workers, 1)), BlockPool()),
            workers=options.workers,
            file_of=samples.path if prepare.reads_images else samples.mask_path,
            start_method=options.start_method,
            timeout_s=options.timeout_s,
            prefetch=options.prefetch,
            pin_memory=options.pin_memory,
        )
        self._faults: dict[Path, Fault] = {}
        self.position = 0
        """How many batches of the running epoch have been loaded: the `start` to continue from."""

    def __len__(self) -> int:
        """Returns the number of batches in an epoch, on this rank."""
        options, shard = self.options, self.shard
        sizes = {"batch_size": options.batch_size, "rank": shard.rank, "world": shard.world}
        return batch_count(len(self._image_ids), drop_last=options.drop_last, **sizes)

    @property
    def faults(self) -> list[Fault]:
        """What is wrong with images that came blank so far, each once."""
        return list(self._faults.values())

    def epoch(self, epoch: int = 0, start: int = 0, *, combine: bool = True) -> Iterator[Batch[BatchTargets]]:
        """Yields the batches of that epoch from the `start`-th on, each of its full size. One epoch at a time.

        Args:
            epoch: 0-based.
            start: batches to leave out at the start.
            combine: whether images may be put together, see `Prepare.partners`.

        Raises:
            DataError, InputMissingError: an image cannot be read, and `on_bad` is "fail".
            NotPermittedError, StorageError: the file system is at fault, with any `on_bad`.
            StoppedError: a worker died or hangs.
        """
        options, shard = self.options, self.shard
        count = len(self._image_ids)
        order = epoch_order(count, seed=options.seed, epoch=epoch, shuffle=options.shuffle, factors=options.factors)
        copies = np.zeros(count, np.int64) if options.factors is None else copy_numbers(order)
        batches = rank_batches(
            np.arange(count),
            batch_size=options.batch_size,
            drop_last=options.drop_last,
            rank=shard.rank,
            world=shard.world,
            start=start,
        )
        self.position = start
        if not batches:
            return
        for loaded in self._workers.run([_Task(epoch, order[rows], copies[rows], combine) for rows in batches]):
            self.position += 1
            if loaded.batch is None:
                raise loaded.error or RuntimeError("a worker gave neither a batch nor an error")
            self._faults |= {fault.file: fault for fault in loaded.faults}
            names = tuple(self._image_ids[index] for index in loaded.batch.indices.tolist())
            yield replace(loaded.batch, image_ids=names)

    def close(self) -> None:
        """Ends the workers. A later epoch starts new ones."""
        self._workers.close()

    def __enter__(self) -> Loader[BatchTargets]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Task(NamedTuple):
    """An epoch, the indices of a batch, how often each came before, and whether images may be put together."""

    epoch: int
    indices: Int[ndarray, " B"]
    copies: Int[ndarray, " B"]
    combine: bool


@dataclass(frozen=True)
class _Loaded(Generic[BatchTargets]):
    """What comes back from a worker. An error is a value: raised there, DataLoader would rebuild it as mere text.

    Args:
        batch: without image ids, which the main process looks up by the indices; None beside an error only.
        faults: of blank images.
        error: what ends the epoch.
    """

    batch: Batch[BatchTargets] | None
    faults: tuple[Fault, ...] = ()
    error: SingleshotError | None = None

    def pin_memory(self) -> _Loaded[BatchTargets]:
        """The same in page-locked memory."""
        return self if self.batch is None else replace(self, batch=self.batch.pin_memory())


@dataclass(frozen=True)
class _Work(Generic[BatchTargets]):
    """The work of a worker: turns the indices of a batch into the batch."""

    samples: PackedSamples
    prepare: Prepare[Any, BatchTargets]
    options: LoaderOptions
    cache: ImageCache[tuple[ndarray, ...]]
    pool: BlockPool

    def __call__(self, task: _Task, begin: Begin) -> _Loaded[BatchTargets]:
        epoch, indices, copies, combine = task
        images = self.pool.array((len(indices), *self.prepare.size_hw, 3))
        targets: list[Any] = [None] * len(indices)
        # NumPy's, because writing a row of a tensor costs a tenth of an image's decoding.
        sizes_hw, blank = np.zeros((len(indices), 2), np.int64), np.zeros(len(indices), np.bool_)
        faults: list[Fault] = []
        for row, index in enumerate(indices.tolist()):
            begin(index)
            try:
                pixels, *masks = self.cache.get(index, self._read)
            except (DataError, InputMissingError) as error:
                if self.options.on_bad == "fail":
                    return _Loaded(None, error=error)
                images[row], blank[row] = BLANK_GREY, True
                path_of = self.samples.path if self.prepare.reads_images else self.samples.mask_path
                faults.append(fault_of(error, path_of(index)))
                continue
            except SingleshotError as error:
                return _Loaded(None, error=error)
            mask, mask_path = (masks[0], self.samples.mask_path(index)) if masks else (None, None)
            rng = rng_for(self.options.seed, epoch, index, int(copies[row]))
            annotation = Annotation(*self.samples.boxes(index), mask, mask_path)
            others = self._others(self.prepare.partners(rng, len(self.samples)) if combine else ())
            if others:
                prepared = self.prepare.combined([(pixels, annotation), *others], rng)
            else:
                prepared = self.prepare(pixels, annotation, rng)
            images[row], targets[row], blank[row] = prepared.image_rgb, prepared.target, prepared.blank
            sizes_hw[row] = pixels.shape[:2]
            faults += [] if prepared.fault is None else [prepared.fault]
        batch = Batch(
            images=torch.from_numpy(images),
            targets=self.prepare.collate(targets),
            image_ids=("",) * len(indices),
            indices=torch.from_numpy(indices.astype(np.int64)),
            sizes_hw=torch.from_numpy(sizes_hw),
            blank=torch.from_numpy(blank),
        )
        return _Loaded(batch, tuple(faults))

    def _others(self, indices: Sequence[int]) -> list[tuple[ndarray, Annotation]]:
        """Returns images with their boxes; none where one cannot be read, which is reported in its own turn."""
        try:
            images = [self.cache.get(index, self._read)[0] for index in indices]
        except (DataError, InputMissingError):
            return []
        return [
            (image, Annotation(*self.samples.boxes(i), None, None)) for i, image in zip(indices, images, strict=True)
        ]

    def _read(self, index: int) -> tuple[ndarray, ...]:
        """Returns the pixels, and the mask if it is asked for, at the sizes for which boxes and masks were drawn.

        A file may not be what its annotation says, or change while we train.
        """
        prepare, samples, path = self.prepare, self.samples, self.samples.path(index)
        image = read_image(path, fast=self.options.fast_decode) if prepare.reads_images else NO_IMAGE
        height, width = image.shape[:2]
        annotated_hw = samples.size_hw(index)
        if prepare.masks == "none" and annotated_hw is not None and annotated_hw != (height, width):
            message = f"{width}×{height} pixels, but it is annotated as {annotated_hw[1]}×{annotated_hw[0]}"
            remedy = "See what `singleshot data check` says of it"
            raise DataError(message, kind="wrong-size", remedy=remedy, file=path)
        if prepare.masks == "none" or samples.mask_code is None:
            return (image,)
        mask_path = samples.mask_path(index)
        mask = mask_files.read(mask_path, samples.mask_code)
        if prepare.reads_images and mask.shape != (height, width):
            message = f"the mask is {mask.shape[1]}×{mask.shape[0]}, its image {width}×{height}"
            raise DataError(message, kind="other-size-mask", remedy="Draw it at the image's size", file=mask_path)
        return image, mask
