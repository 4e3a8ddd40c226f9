"""Five million boxes: what opening them costs, and what a worker's memory does over an epoch.

An index of drawn numbers (700,000 images, about seven objects each) goes to worker processes as the loader's does,
and every worker looks up all its images' names and boxes in an epoch's random order, without decoding. What is
printed is each worker's own memory (USS) early in the epoch and at its end; beside it the same
for a list of records, which is what a plain data set would hold, in a process that was forked and touches them.

    .venv/bin/python -m benchmarks.scale
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from dataclasses import dataclass

import numpy as np
import psutil

from benchmarks.timing import machine
from singleshot.data.load.order import epoch_order
from singleshot.data.load.samples import PackedSamples, SampleTable, pack
from singleshot.data.load.workers import Begin, Workers

BATCH = 1000


def drawn(pictures: int, boxes: int) -> SampleTable:
    """A table of that many images and boxes."""
    rng = np.random.default_rng(0)
    names = [f"pictures/{number:012}.jpg".encode() for number in range(pictures)]
    ids = [name[9:-4] for name in names]
    low = rng.uniform(0, 500, (boxes, 2))
    ends = np.concatenate([[0], np.sort(rng.integers(0, boxes + 1, pictures - 1)), [boxes]])
    return SampleTable(
        image_ids=np.frombuffer(b"".join(ids), np.uint8),
        image_id_ends=np.arange(pictures + 1) * len(ids[0]),
        paths=np.frombuffer(b"".join(names), np.uint8),
        path_ends=np.arange(pictures + 1) * len(names[0]),
        mask_paths=np.empty(0, np.uint8),
        mask_path_ends=np.zeros(pictures + 1, np.int64),
        sizes_hw=np.full((pictures, 2), 640, np.int32),
        boxes_xyxy=np.hstack([low, low + rng.uniform(5, 100, (boxes, 2))]),
        class_ids=rng.integers(0, 80, boxes),
        difficult=np.zeros(boxes, np.bool_),
        crowd=np.empty(0, np.bool_),
        areas=np.empty(0),
        box_ends=ends,
    )


@dataclass(frozen=True)
class LookUp:
    """A worker's task: names and boxes of some images. Says who it is and how much memory is its own."""

    samples: PackedSamples

    def __call__(self, task: np.ndarray, begin: Begin) -> tuple[int, float, float]:
        """Process, sum of what was seen, MiB."""
        seen = 0.0
        begin(int(task[0]))
        for index in task.tolist():
            boxes_xyxy, class_ids = self.samples.boxes(index)
            seen += len(str(self.samples.path(index))) + float(boxes_xyxy.sum()) + int(class_ids.sum())
        return os.getpid(), seen, own_mib() if task[0] % 20 == 0 else 0.0


def own_mib() -> float:
    """This process's own memory."""
    return psutil.Process().memory_full_info().uss / 2**20


def table_workers(packed: PackedSamples, workers: int) -> None:
    """An epoch with the packed index; prints a line a worker."""
    order = epoch_order(len(packed), seed=0, epoch=0, shuffle=True)
    tasks = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
    memory: dict[int, list[float]] = {}
    pool: Workers[np.ndarray, tuple[int, float, float]] = Workers(LookUp(packed), workers=workers, file_of=packed.path)
    started = time.perf_counter()
    for process, _, mib in pool.run(tasks):
        if mib:
            memory.setdefault(process, []).append(mib)
    took = time.perf_counter() - started
    pool.close()
    for mib in memory.values():
        print(f"  packed: {mib[0]:.0f} MiB → {mib[-1]:.0f} MiB a worker ({mib[-1] / mib[0] - 1:+.1%})")
    print(f"  {took:.1f} s for the epoch's look-ups")


def list_worker(pictures: int, per_picture: int) -> None:
    """The same with a list of records, forked, on a fifth of the boxes; prints a line."""
    records = [
        {"path": f"pictures/{number:012}.jpg", "boxes": [[float(number), 0.0, 1.0, 1.0] for _ in range(per_picture)]}
        for number in range(pictures)
    ]
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def touch() -> None:
        first = own_mib()
        for index in np.random.default_rng(0).permutation(len(records)).tolist():
            sum(map(sum, records[index]["boxes"]))
        sender.send((first, own_mib()))

    process = context.Process(target=touch)
    process.start()
    first, last = receiver.recv()
    process.join()
    print(f"  list of records, a fifth of the boxes: {first:.0f} MiB → {last:.0f} MiB a worker")


def main() -> None:
    """Draw, walk, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=700_000)
    parser.add_argument("--boxes", type=int, default=5_000_000)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    print(machine("numpy", "torch"))
    table = drawn(given.pictures, given.boxes)
    started = time.perf_counter()
    packed = pack(table)
    print(f"{len(packed):,} images, {len(packed.boxes_xyxy):,} boxes packed in {time.perf_counter() - started:.2f} s")
    table_workers(packed, given.workers)
    list_worker(given.pictures // 5, given.boxes // given.pictures)


if __name__ == "__main__":
    main()
