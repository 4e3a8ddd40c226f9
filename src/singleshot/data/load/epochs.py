"""A split's batches, epoch by epoch, for both kinds of label: what the loaders of boxes and of masks share.

A batch is a function of (seed, epoch, its place), so it is the same for any number of workers, and an epoch can be
taken up in its middle. A picture that cannot be read ends the epoch with the reader's own error, file and all, or is
listed, and its place in the batch holds a blank one that teaches nothing (`on_bad="skip"`). It is not left out: the
ranks of a run take their steps together, and one with a batch less would leave the others waiting for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Generic, TypedDict, TypeVar

from jaxtyping import Int
from numpy import ndarray

from singleshot.data.faults import OnBad
from singleshot.data.load.mask_batch import MaskBatch
from singleshot.data.load.order import batch_count, epoch_order, rank_batches
from singleshot.data.load.sample_table import image_ids
from singleshot.data.load.shared_memory import check_shared_memory
from singleshot.data.load.workers import Begin, StartMethod, Workers
from singleshot.errors import ConfigError, DataError, Fault, InputMissingError, SingleshotError, fault_of
from singleshot.structures import Batch, Dataset

BLANK_GREY = 127
"""Every channel of a blank picture: in the middle, so that norm layers hardly notice it."""

AnyBatch = TypeVar("AnyBatch", Batch, MaskBatch)
Task = tuple[int, Int[ndarray, " B"]]
"""An epoch, and the places in the data set that make up a batch."""


@dataclass(frozen=True)
class Loaded(Generic[AnyBatch]):
    """What comes back from a worker. An error is a value: raised there, DataLoader would rebuild it as mere text.

    Args:
        batch: the pictures, without names, which the main process knows by the indices; None beside an error only.
        faults: of the pictures that are blank.
        error: what ends the epoch.
    """

    batch: AnyBatch | None
    faults: tuple[Fault, ...] = ()
    error: SingleshotError | None = None

    def pin_memory(self) -> Loaded[AnyBatch]:
        """The same in page-locked memory."""
        return self if self.batch is None else replace(self, batch=self.batch.pin_memory())


class Share(TypedDict):
    """Which batches of an epoch are this process's, see `order.rank_batches`."""

    batch_size: int
    drop_last: bool
    rank: int
    world: int


class EpochLoader(Generic[AnyBatch]):
    """Runs a worker's `load` over the batches of an epoch.

    Args:
        dataset: the pictures. At least one.
        load: from the places in the data set to a batch. It is sent to the workers, so it must pickle.
        file_of: the file behind a place in the data set.
        share: which batches are this process's.
        seed: 0 or more; with the epoch it settles the order.
        shuffle: a new order each epoch, or the data set's own.
        picture_bytes: that one picture of a batch takes in memory.
        workers, pin_memory, start_method, timeout_s, prefetch: see `workers.Workers`.

    Raises:
        ConfigError: a number out of its range, no picture, too little shared memory, or `drop_last` with fewer
            pictures than one step of all ranks takes.
    """

    def __init__(
        self,
        dataset: Dataset,
        load: Callable[[Task, Begin], Loaded[AnyBatch]],
        *,
        file_of: Callable[[int], Path],
        share: Share,
        seed: int,
        shuffle: bool,
        picture_bytes: int,
        workers: int,
        pin_memory: bool,
        start_method: StartMethod | None,
        timeout_s: float,
        prefetch: int,
    ) -> None:
        size, rank, world = share["batch_size"], share["rank"], share["world"]
        if size < 1 or seed < 0 or picture_bytes < 1 or not 0 <= rank < world:
            what = f"batch size {size}, seed {seed}, rank {rank} of {world}, {picture_bytes} bytes a picture"
            raise ConfigError(what, remedy="Give sizes of 1 or more, a seed of 0 or more, a rank below world")
        if len(dataset) < (size * world if share["drop_last"] else 1):
            what = f"{len(dataset)} pictures of {dataset.split} do not make one batch of {size * world}"
            raise ConfigError(what, remedy="Use a smaller batch or more pictures", file=dataset.root)
        check_shared_memory(workers * (prefetch + 1) * size * picture_bytes)
        self._image_ids = image_ids(dataset.samples)
        self._seed, self._shuffle, self._share = seed, shuffle, share
        self._workers: Workers[Task, Loaded[AnyBatch]] = Workers(
            load,
            workers=workers,
            file_of=file_of,
            start_method=start_method,
            timeout_s=timeout_s,
            prefetch=prefetch,
            pin_memory=pin_memory,
        )
        self._faults: dict[Path, Fault] = {}
        self.position = 0
        """How many batches of the running epoch are behind us: the `start` to continue from."""

    def __len__(self) -> int:
        """Batches in an epoch, on this rank."""
        return batch_count(len(self._image_ids), **self._share)

    @property
    def faults(self) -> list[Fault]:
        """What is wrong with the pictures that came blank so far, each once."""
        return list(self._faults.values())

    def epoch(self, epoch: int, start: int = 0) -> Iterator[AnyBatch]:
        """The batches of that epoch from the `start`-th on, each of its full size. One epoch at a time.

        Raises:
            DataError, InputMissingError: a picture cannot be read, and `on_bad` is "fail".
            NotPermittedError, StorageError: nor can it with any `on_bad` where the file system is at fault.
            StoppedError: a worker died or hangs.
        """
        order = epoch_order(len(self._image_ids), seed=self._seed, epoch=epoch, shuffle=self._shuffle)
        tasks: list[Task] = [(epoch, indices) for indices in rank_batches(order, start=start, **self._share)]
        self.position = start
        for loaded in self._workers.run(tasks):
            self.position += 1
            if loaded.batch is None:
                raise loaded.error or RuntimeError("a worker gave neither a batch nor an error")
            self._faults |= {fault.file: fault for fault in loaded.faults}
            names = tuple(self._image_ids[index] for index in loaded.batch.indices.tolist())
            yield replace(loaded.batch, image_ids=names)

    def close(self) -> None:
        """End the workers."""
        self._workers.close()

    def __enter__(self) -> EpochLoader[AnyBatch]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_each(
    indices: Int[ndarray, " B"],
    begin: Begin,
    read: Callable[[int, int], None],
    *,
    on_bad: OnBad,
    file_of: Callable[[int], Path],
) -> tuple[dict[int, Fault], SingleshotError | None]:
    """Call `read(row, index)` for every picture of a batch.

    Returns the rows that could not be read, with their faults, and the error that ends the epoch, if one does.
    """
    faults: dict[int, Fault] = {}
    for row, index in enumerate(indices.tolist()):
        begin(index)
        try:
            read(row, index)
        except (DataError, InputMissingError) as error:
            if on_bad == "fail":
                return faults, error
            faults[row] = fault_of(error, file_of(index))
        except SingleshotError as error:
            return faults, error
    return faults, None
