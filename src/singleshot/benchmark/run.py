"""Workload after workload, each measured in a process of its own: `python -m singleshot.benchmark.run JOB RESULT`.

A process for each, because memory that the last workload took would count for the next, and because a workload may
end its process: where memory runs out the system kills it, and no `except` can catch that. The parent then reports it
and goes on with the next one.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from singleshot.benchmark import machine, workloads
from singleshot.benchmark.measure import Rates, measure, timed
from singleshot.benchmark.results import Loader, Report, Result
from singleshot.benchmark.workloads import Workload
from singleshot.config import from_json_dict, to_json_dict
from singleshot.data.augment.augment import NONE
from singleshot.errors import ConfigError, SingleshotError
from singleshot.preprocess import normalise
from singleshot.storage import atomic
from singleshot.structures import Dataset
from singleshot.training.devices import Precision, open_fabric, resolve_precision
from singleshot.training.load_pretrained import new_network
from singleshot.training.ranks import Ranks
from singleshot.training.recipe import Recipe
from singleshot.training.setup import SetupOptions, set_up
from singleshot.training.step import TrainingStep

KILLED = 9
CHILD = (sys.executable, "-m", "singleshot.benchmark.run")
WARM_UP = 10
"""Steps before the window on a device that chooses its kernels; a CPU has allocated its memory after one."""
PREFETCH = 2  # of each worker: the loaders' default


@dataclass(frozen=True)
class Job:
    """A workload and how to measure it.

    Args:
        workload: what to measure.
        device: `auto`, `cpu` or `cuda`.
        precision: as of a recipe.
        loader: `serial` reads in the main thread, as the 2017 post's segmenters did.
        seconds: of the window; None for the whole epoch and its whole validation pass.
        data: a folder of the user's, or None for the sample scenes.
        splits: a file of splits that stand in for the folder's own, see `data.split_file`.
    """

    workload: Workload
    device: str = "auto"
    precision: Precision = "auto"
    loader: Loader = "parallel"
    seconds: float | None = 20.0
    data: str | None = None
    splits: str | None = None


def run(jobs: Sequence[Job], *, child: Sequence[str] = CHILD) -> Iterator[tuple[str, Report]]:
    """Measure all; yield the name of each workload as it ends, and the report so far.

    Args:
        jobs: what to measure. The sample scenes are written first, so that no workload's process spends time on that.
        child: the program that does a job.

    A failure of a workload, or of its images, is its result.
    """
    facts: dict[str, Any] | None = None
    results: dict[str, Result] = {}
    for job in jobs:
        found = None
        try:
            if job.data is None:
                workloads.sample_data(job.workload)
            found, result = run_one(job, child)
        except (SingleshotError, OSError) as error:
            result = Result(job.workload.batch_size, job.loader, error=reason(error))
        facts = facts or found
        results[job.workload.name] = result
        # Where nothing could be measured yet it is still this machine that failed.
        here = facts or machine.facts(device="cpu", precision=resolve_precision("auto", "cpu"), data=Path.cwd())
        yield job.workload.name, Report(here, dict(results))


def run_one(job: Job, child: Sequence[str] = CHILD) -> tuple[dict[str, Any] | None, Result]:
    """Do one job in a process of its own. The machine's facts are None where it failed.

    Raises OSError where the system's folder for temporary files is full.
    """
    with tempfile.TemporaryDirectory() as folder:
        job_file, result_file = Path(folder) / "job.json", Path(folder) / "result.json"
        job_file.write_text(json.dumps(to_json_dict(job)), encoding="utf-8")
        # Its stdin is a pipe that nobody writes to: it ends when this process does, for whatever reason.
        with subprocess.Popen(
            [*child, str(job_file), str(result_file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        ) as process:
            try:
                text = process.stderr.read().decode(errors="replace") if process.stderr is not None else ""
                code = process.wait()
            except BaseException:
                process.kill()
                raise
        if result_file.is_file():
            content: Mapping[str, Any] = json.loads(result_file.read_text(encoding="utf-8"))
            return content["machine"], from_json_dict(Result, content["result"], "result")
    lines = text.strip().splitlines()
    if code == -KILLED:
        failure = "killed by the system (likely out of memory)"
    elif code < 0:
        failure = f"crashed ({signal.Signals(-code).name})"
    else:
        failure = f"ended with code {code}: {lines[-1][:200] if lines else 'without a message'}"
    return None, Result(job.workload.batch_size, job.loader, error=failure)


def run_here(job: Job) -> tuple[dict[str, Any], Result]:
    """Do a job in this process; returns the machine's facts and the workload's result.

    Raises as reading, building and training do: the caller makes `error` of it.
    """
    workload, serial = job.workload, job.loader == "serial"
    fabric = open_fabric(precision=job.precision, device=job.device)
    device = fabric.device.type
    # On a CPU the network needs cores too; a device of its own needs one of them.
    spare = machine.cores() // 2 if device == "cpu" else machine.cores() - 1
    workers = 0 if serial else max(1, min(32, spare))
    precision = resolve_precision(job.precision, job.device)
    recipe = workload.recipe(job.precision, workers)
    splits = None if job.splits is None else Path(job.splits)
    data = workloads.sample_data(workload) if job.data is None else workloads.user_data(workload, job.data, splits)
    if len(data.train) < workload.batch_size:
        message = f"{len(data.train)} images to train on are less than one batch of {workload.batch_size}"
        raise ConfigError(message, remedy="Give --data more images: the batch is part of the workload")
    torch.manual_seed(0)
    notes: list[str] = []
    # As `training.run` makes it, without a cache of decoded images: an epoch decodes each once.
    options = SetupOptions(workers, cache_bytes=0)
    network = new_network(recipe, data.train.label_map.names, data.train.colours).network
    setup = set_up(network, recipe, data.train, None, options)
    try:
        step = TrainingStep(network, setup.criterion, recipe, fabric, Ranks(fabric), notes.append)
        step.network.train()
        rates = measure(
            Epochs(setup.loader.epoch, len(setup.loader)),
            step,
            seconds=job.seconds,
            warm_up=1 if device == "cpu" else WARM_UP,
            ahead=workers * PREFETCH,
            epoch_steps=len(setup.loader),
            device=device,
        )
        memory = torch.cuda.max_memory_allocated() if device == "cuda" else machine.peak_bytes()
    finally:
        setup.loader.close()
    validation_s = None
    if data.val is not None and len(data.val):
        validation_s = _validation_seconds(job, recipe, data.val, options, step, device)
    else:
        notes.append("no validation split: epoch_seconds is without a validation pass")
    longest_s = rates.together.seconds / rates.together.steps
    if job.seconds is not None and longest_s > job.seconds:
        notes.append(f"a step takes {longest_s:.1f} s and does not fit {job.seconds:g} s: it was finished all the same")
    folder = Path(data.train.samples[0].image_path).parent
    facts = machine.facts(device=device, precision=precision, data=folder)
    result = Result(workload.batch_size, job.loader, precision=precision, data=data.source, peak_memory_bytes=memory)
    result = _with_rates(result, rates, len(data.train), validation_s, whole_epoch=job.seconds is None)
    return facts, replace(result, notes=tuple(notes))


def _with_rates(result: Result, rates: Rates, images: int, validation_s: float | None, *, whole_epoch: bool) -> Result:
    window = rates.together
    # A part of an epoch is extrapolated to all of it.
    training_s = window.seconds if whole_epoch else images / window.images_per_second
    return replace(
        result,
        images_per_second=window.images_per_second,
        training_seconds=training_s,
        epoch_seconds=training_s + (validation_s or 0.0),
        loader_images_per_second=rates.loader.images_per_second,
        network_images_per_second=rates.network.images_per_second,
        verdict=rates.verdict,
        waiting_share=window.waiting_share,
        cpu_utilisation=rates.cpu_utilisation,
        steps=window.steps,
        measured_seconds=window.seconds,
        noise=window.noise,
    )


class Epochs:
    """The batches of a task for `measure`: epoch after epoch; each call starts with a new one.

    Args:
        batches: of an epoch, from an index on.
        whole: how many an epoch has.
    """

    def __init__(self, batches: Callable[[int, int], Iterable[Any]], whole: int) -> None:
        self.batches, self.whole, self.epoch = batches, whole, 0

    def __call__(self, count: int | None) -> Iterator[Any]:
        """Yield so many batches, or for None without end. Of a partial epoch they are the last, so that it ends."""
        left = math.inf if count is None else count
        while left > 0 and self.whole:
            start = self.whole - int(min(left, self.whole))
            left -= self.whole - start
            self.epoch += 1
            yield from self.batches(self.epoch - 1, start)


def _validation_seconds(
    job: Job, recipe: Recipe, val: Dataset, options: SetupOptions, step: TrainingStep, device: str
) -> float:
    """Return the time of the validation pass, forward and loss over every image; a part is extrapolated."""
    plain = replace(recipe, augmentation=NONE, fast_decode=False, drop_last=False)
    loader = set_up(step.network, plain, val, None, options).loader
    step.network.eval()

    def forward(batch: Any) -> None:
        batch = batch.to(step.fabric.device)
        with torch.no_grad():
            outputs = step.module(normalise(batch.images, step.network.config.preprocess))
            targets = step.criterion.targets(batch)
            step.criterion(outputs, targets, step.criterion.totals(targets))

    try:
        batches = Epochs(loader.epoch, len(loader))
        for batch in batches(1):  # the start of the workers belongs to no epoch
            forward(batch)
        seconds = math.inf if job.seconds is None else job.seconds / 4
        window = timed(batches(len(loader)), forward, seconds=seconds, device=device)
    finally:
        loader.close()
    return len(val) / window.images_per_second


def main(arguments: list[str]) -> None:
    """Read the file of a job, writes that of a result. An exception is a result, too."""
    machine.end_first_when_memory_is_out()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    job = from_json_dict(Job, json.loads(Path(arguments[0]).read_text(encoding="utf-8")), "job")
    facts: dict[str, Any] | None = None
    try:
        facts, result = run_here(job)
    except Exception as error:
        result = Result(job.workload.batch_size, job.loader, error=reason(error))
    atomic.write_text(Path(arguments[1]), json.dumps({"machine": facts, "result": asdict(result)}))


def _end_with_parent() -> None:
    """Wait for the end of stdin, to which the parent never writes: it is the end of the parent."""
    # Not sys.stdin: a thread that waits in it holds its lock, and the interpreter aborts over that lock at its end.
    while os.read(0, 1):
        pass
    os._exit(1)


def reason(error: Exception) -> str:
    """Return a failure as one line."""
    text = str(error) if isinstance(error, SingleshotError) else f"{type(error).__name__}: {error}"
    line = " ".join(text.split())
    # torch mentions memory somewhere in a paragraph, with other words for each device.
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in line:
        return f"out of memory ({line[:160]})"
    return line[:300]


if __name__ == "__main__":
    main(sys.argv[1:])
