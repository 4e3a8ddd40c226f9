"""One workload, measured in a process of its own: `python -m singleshot.benchmark.child JOB RESULT`.

A process for each, because memory that the last workload took would count for the next, and because a workload may
take its process with it: where memory runs out the system kills, and no `except` hears of it. The parent then says
so, and goes on with the next one.
"""

from __future__ import annotations

import json
import math
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from singleshot.benchmark import data, processes
from singleshot.benchmark.machine import cores, facts
from singleshot.benchmark.measure import Rates, Window, measure, timed
from singleshot.benchmark.results import Loader, Result
from singleshot.benchmark.verdict import verdict
from singleshot.benchmark.workloads import Workload
from singleshot.config import from_json_dict
from singleshot.data.augment.augment import NONE
from singleshot.errors import ConfigError, SingleshotError
from singleshot.segmentation.fcn import FCN
from singleshot.segmentation.fcn import config_for as segmenter_config
from singleshot.storage import atomic
from singleshot.structures import Dataset
from singleshot.training import starting
from singleshot.training.detection import DetectionTask
from singleshot.training.fabric import Precision, open_fabric, resolve_precision
from singleshot.training.ranks import Ranks
from singleshot.training.recipe import Recipe
from singleshot.training.segmentation import SegmentationTask
from singleshot.training.step import TrainingStep

WARM_UP = 10
"""Steps before the window on a device that chooses its kernels; a CPU has taken its memory after one."""
PREFETCH = 2  # of each worker: the loaders' default


@dataclass(frozen=True)
class Job:
    """What to measure and how.

    Args:
        workload: see there.
        device: `auto`, `cpu` or `cuda`.
        precision: as of a recipe.
        loader: `serial` reads in the main thread, as the 2017 post's segmenters did.
        seconds: of the window; None for the whole epoch and its whole validation pass.
        data: a folder of the user's, or None for drawn pictures.
    """

    workload: Workload
    device: str = "auto"
    precision: Precision = "auto"
    loader: Loader = "parallel"
    seconds: float | None = 20.0
    data: str | None = None


def run(job: Job) -> tuple[dict[str, Any], Result]:
    """Measure; the machine's facts and the workload's result.

    Raises what reading, building and training raise: the caller makes `error` of it.
    """
    workload = job.workload
    serial = job.loader == "serial"
    fabric = open_fabric(precision=job.precision, device=job.device)
    device = fabric.device.type
    # On a CPU the network wants cores too; a device of its own wants one of them.
    spare = cores() // 2 if device == "cpu" else cores() - 1
    workers = 0 if serial else max(1, min(32, spare))
    precision = resolve_precision(job.precision, job.device)
    recipe = workload.recipe(job.precision, workers)
    read = data.drawn(workload) if job.data is None else data.given(workload, Path(job.data))
    if len(read.train) < workload.batch_size:
        what = f"{len(read.train)} pictures to train on do not make one batch of {workload.batch_size}"
        raise ConfigError(what, remedy="Give --data more pictures: the batch is part of the workload")
    torch.manual_seed(0)
    notes: list[str] = []
    task = _task(recipe, read.train, workers)
    try:
        step: TrainingStep[Any] = TrainingStep(task, recipe, fabric, Ranks(fabric), notes.append)
        step.network.train()
        usage: list[float | None] = []

        def watched(window: Callable[[], Window]) -> Window:
            before = processes.cpu_seconds()
            seen = window()
            after = processes.cpu_seconds()
            used = None if before is None or after is None else (after - before) / (seen.seconds * cores())
            usage.append(None if used is None else min(1.0, used))
            return seen

        rates = measure(
            Epochs(task.batches, task.steps_per_epoch),
            step.take,
            seconds=job.seconds,
            warm_up=1 if device == "cpu" else WARM_UP,
            ahead=workers * PREFETCH,
            epoch_steps=task.steps_per_epoch,
            device=device,
            around=watched,
        )
        memory = torch.cuda.max_memory_allocated() if device == "cuda" else processes.peak_bytes()
    finally:
        task.close()
    validation_s = None
    if read.val is not None and len(read.val):
        validation_s = _validation_seconds(job, recipe, read.val, workers, step, device)
    else:
        notes.append("no validation split: epoch_seconds is without a validation pass")
    where = Path(read.train.samples[0].image_path).parent
    machine = facts(device=device, precision=precision, data=where)
    result = Result(workload.batch_size, job.loader, precision=precision, data=read.source, peak_memory_bytes=memory)
    return machine, _filled(result, rates, len(read.train), validation_s, job.seconds, usage[0], notes)


def _filled(
    result: Result,
    rates: Rates,
    images: int,
    validation_s: float | None,
    asked_s: float | None,
    cpu_utilisation: float | None,
    notes: list[str],
) -> Result:
    """The result with its figures."""
    seen = rates.together
    # A whole epoch is what it took; part of one is taken for all of it.
    training_s = images / seen.images_per_second if asked_s is not None else seen.seconds
    longest = seen.seconds / seen.steps
    if asked_s is not None and longest > asked_s:
        notes = [*notes, f"a step takes {longest:.1f} s and does not fit {asked_s:g} s: it was finished all the same"]
    return replace(
        result,
        images_per_second=seen.images_per_second,
        training_seconds=training_s,
        epoch_seconds=training_s + (validation_s or 0.0),
        loader_images_per_second=rates.loader.images_per_second,
        network_images_per_second=rates.network.images_per_second,
        verdict=verdict(seen.waiting_share, rates.loader.images_per_second, rates.network.images_per_second),
        waiting_share=seen.waiting_share,
        cpu_utilisation=cpu_utilisation,
        steps=seen.steps,
        measured_seconds=seen.seconds,
        noise=seen.noise,
        notes=tuple(notes),
    )


def _task(recipe: Recipe, train: Dataset, workers: int) -> DetectionTask | SegmentationTask:
    """The task as `training.run` makes it, without a memory of decoded pictures: an epoch decodes each once."""
    names = train.label_map.names
    if recipe.model.startswith("fcn"):
        network = FCN(segmenter_config(recipe.model, names, recipe.input_size_hw, train.colours))
        return SegmentationTask(network, recipe, train, None, workers, cache_bytes=0)
    return DetectionTask(starting.start(recipe, names).network, recipe, train, None, workers, cache_bytes=0)


class Epochs:
    """A task's batches as `measure` wants them: epoch after epoch, each iteration begins with a new one.

    Args:
        batches: those of an epoch, from a place on.
        whole: how many an epoch has.
    """

    def __init__(self, batches: Callable[[int, int], Iterable[Any]], whole: int) -> None:
        self.batches, self.whole, self.epoch = batches, whole, 0

    def __call__(self, count: int | None) -> Iterator[Any]:
        """So many batches; None for batches without end. A part of an epoch is its end, so that it is used up."""
        left = math.inf if count is None else count
        while left > 0 and self.whole:
            start = self.whole - int(min(left, self.whole))
            left -= self.whole - start
            self.epoch += 1
            yield from self.batches(self.epoch - 1, start)


def _validation_seconds(
    job: Job, recipe: Recipe, val: Dataset, workers: int, step: TrainingStep[Any], device: str
) -> float:
    """The validation pass: forward and loss over every picture, read as they are. A part stands for the whole."""
    plain = replace(recipe, augmentation=NONE, fast_decode=False, drop_last=False)
    kind = DetectionTask if isinstance(step.task, DetectionTask) else SegmentationTask
    judge: Any = kind(step.network, plain, val, None, workers, cache_bytes=0)
    step.network.eval()

    def forward(batch: Any) -> None:
        with torch.no_grad():
            judge.losses(step.module, batch.to(step.fabric.device))

    try:
        batches = Epochs(judge.batches, judge.steps_per_epoch)
        for batch in batches(1):  # the workers' start belongs to no epoch
            forward(batch)
        seconds = math.inf if job.seconds is None else job.seconds / 4
        seen = timed(batches(judge.steps_per_epoch), forward, seconds=seconds, device=device)
    finally:
        judge.close()
    return len(val) / seen.images_per_second


def main(arguments: list[str]) -> None:
    """Read a job's file, write a result's. A failure that can be caught is a result, too."""
    processes.volunteer()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    job = from_json_dict(Job, json.loads(Path(arguments[0]).read_text(encoding="utf-8")), "job")
    machine: dict[str, Any] | None = None
    try:
        machine, result = run(job)
    except Exception as error:
        result = Result(job.workload.batch_size, job.loader, error=reason(error))
    atomic.write_text(Path(arguments[1]), json.dumps({"machine": machine, "result": asdict(result)}))


def _end_with_parent() -> None:
    """Wait for the end of what the parent never writes, which is the parent's own end."""
    # Not sys.stdin: a thread that waits in it holds its lock, and the interpreter aborts over that lock at its end.
    while os.read(0, 1):
        pass
    os._exit(1)


def reason(error: Exception) -> str:
    """A failure in one line."""
    said = str(error) if isinstance(error, SingleshotError) else f"{type(error).__name__}: {error}"
    line = " ".join(said.split())
    # torch says the one thing that matters somewhere in a paragraph, and says it differently for each device.
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in line:
        return f"out of memory ({line[:160]})"
    return line[:300]


if __name__ == "__main__":
    main(sys.argv[1:])
