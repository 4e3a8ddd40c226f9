"""Whether worker processes feed a GPU: processor time of an image in a worker and in the trainer, and what follows.

    python -m benchmarks.data_path --workers 1 2

    images/s of w workers on as many cores = min(w / time in a worker, 1 / time in the trainer)

The trainer receives a batch and copies it once, as into page-locked memory. Both times are processor time, so that
other programs on the machine hardly count in; beside the model's rate stands what the workers that were tried did.
Cores that share a memory bus or run hot together do less than the model says.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import dataclass

from benchmarks.timing import machine
from singleshot.benchmark.machine import cpu_seconds
from singleshot.benchmark.workloads import WORKLOADS, sample_data
from singleshot.data.load.loader import Loader, LoaderOptions, TrainDetection
from singleshot.preprocess import Preprocess
from singleshot.recipes import ssd300_voc0712

BATCH = 32
WANTED = {"vgg300": 3000.0, "vgg512": 1100.0}
"""Images a second that a network takes on an H100 at most, about: twice the goals."""
PREDICTED = (1, 2, 4, 8, 16)


@dataclass(frozen=True)
class Cost:
    """Seconds of an image: a worker's processor time, the trainer's, and the wall's."""

    worker_s: float
    trainer_s: float
    wall_s: float


def rate(cost: Cost, workers: int) -> float:
    """Images a second that so many workers deliver, each on a core of its own.

    >>> rate(Cost(0.001, 0.0001, 0.0), 4), rate(Cost(0.001, 0.0001, 0.0), 16)
    (4000.0, 10000.0)
    """
    return min(workers / cost.worker_s, 1 / cost.trainer_s)


def measure(model: str, workers: int, batches: int) -> Cost:
    """Load so many batches of a workload's drawn images, after as many as the workers have ahead.

    Raises RuntimeError where the system does not report the time of processes.
    """
    workload = WORKLOADS[model]
    prepare = TrainDetection(Preprocess(workload.input_size_hw), ssd300_voc0712.RECIPE.augmentation)
    options = LoaderOptions(BATCH, shuffle=True, drop_last=True, fast_decode=True, workers=workers)
    loader = Loader(sample_data(workload).train, prepare, options)
    try:
        stream = loader.epoch(0)
        for _ in range(2 * workers + 1):
            next(stream)
        whole, own, wall = cpu_seconds(), time.process_time(), time.perf_counter()
        for _ in range(batches):
            next(stream).images.clone()
        own, wall, end = time.process_time() - own, time.perf_counter() - wall, cpu_seconds()
    finally:
        loader.close()
    if whole is None or end is None:
        raise RuntimeError("this system does not report the processor time of processes")
    count = batches * BATCH
    return Cost((end - whole - own) / count, own / count, wall / count)


def main() -> None:
    """Measure each number of workers, and print what more of them would do."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=sorted(WANTED), default="vgg300")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batches", type=int, default=40)
    chosen = parser.parse_args()
    print(machine("torch", "numpy", "opencv-python-headless"), f"load {os.getloadavg()[0]:.1f}", sep=", ")
    for workers in chosen.workers:
        cost = measure(chosen.model, workers, chosen.batches)
        each = f"{1e3 * cost.worker_s:.2f} ms of a worker and {1e3 * cost.trainer_s:.3f} ms of the trainer an image"
        print(f"{workers} workers: {each}; {1 / cost.wall_s:.0f} images/s here, {rate(cost, workers):.0f} by the model")
        said = ", ".join(f"{more}: {rate(cost, more):,.0f}" for more in PREDICTED)
        print(f"  images/s by workers, a core each: {said}; {chosen.model} takes {WANTED[chosen.model]:,.0f} at most")


if __name__ == "__main__":
    main()
