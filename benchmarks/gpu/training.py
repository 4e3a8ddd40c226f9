"""Stage 2: the four workloads of 2017 with both loaders, and the steps of vgg300 and vgg512 alone, in four forms.

The workloads are those of `singleshot benchmark run`; beside each stand the epochs that the posts' machines took. The
steps alone run on a batch in memory: as they are, compiled, with CUDA graphs, and with both. Where torchvision is
installed its own SSD300 trains on as many images in the same precision.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from benchmarks import steps
from benchmarks.gpu.rows import LIGHT, Check, NotRunError, Place, Row, at_least, measured
from singleshot.benchmark.measure import timed
from singleshot.benchmark.report import MACHINES_2017, duration
from singleshot.benchmark.results import Loader, Result
from singleshot.benchmark.run import Job, run_here
from singleshot.benchmark.workloads import WORKLOADS, Workload
from singleshot.training.devices import Precision

WINDOW_S = 4.0
GOALS = {"vgg300": 1500.0, "vgg512": 550.0}
"""Images a second with the loader on an H100 or H200 (docs/performance.md says why)."""
FORMS: dict[str, dict[str, Any] | None] = {
    "eager": None,
    "compiled": {},
    "CUDA graphs": {"backend": "cudagraphs"},
    "compiled, CUDA graphs": {"mode": "reduce-overhead"},
}
"""Arguments of `Module.compile`."""
TORCHVISION_BATCH = 32
TIMES = 2.0
"""As many images a second as torchvision's step, at least."""


def checks(place: Place) -> Iterable[Check]:
    """The workloads with workers, the steps, torchvision, compiled steps, and the workloads in the main thread."""
    rates: dict[str, float] = {}
    for name in WORKLOADS:
        yield Check(f"{name}: an epoch with workers", partial(_workload, place, name, "parallel"))
    for model in GOALS:
        yield Check(f"{model}: with the loader, batch 32", partial(_end_to_end, place, model), cuda_only=True)
    for form in ("eager", "CUDA graphs"):
        for model in GOALS:
            yield Check(f"{model}: step alone, {form}", partial(_alone, place, model, form, rates), cuda_only=True)
    if not place.cuda:
        yield Check(f"{LIGHT}: step alone, eager", partial(_alone, place, LIGHT, "eager", rates))
    yield Check("torchvision's SSD300: step alone", partial(_torchvision, place, rates))
    for form in ("compiled", "compiled, CUDA graphs"):  # a compiler takes most of a minute
        for model in GOALS:
            yield Check(f"{model}: step alone, {form}", partial(_alone, place, model, form, rates), cuda_only=True)
    for name in ("kitti", "cityscapes", "vgg300", "vgg512"):
        yield Check(f"{name}: an epoch, images read in the main thread", partial(_workload, place, name, "serial"))


def _sized(workload: Workload, place: Place) -> Workload:
    """The workload, or on a CPU one of its task and none of its size."""
    if place.cuda:
        return workload
    model = "fcn8s-fine2" if workload.is_segmentation else LIGHT
    small = {"input_size_hw": (64, 96), "image_size_hw": (60, 80), "batch_size": 2, "train_images": 12, "val_images": 2}
    return replace(workload, model=model, **small)


def _measured(workload: Workload, place: Place, loader: Loader) -> Result:
    if place.cuda:
        torch.cuda.reset_peak_memory_stats()
    precision: Precision = "auto" if place.cuda else "fp32"
    job = Job(workload, place.device, precision, loader, WINDOW_S if place.cuda else 0.2)
    return run_here(job)[1]


def _rows_of(name: str, found: Result, batch_size: int) -> Iterable[Row]:
    about = f"{name}, batch {batch_size}, {found.precision}, {found.loader}"
    note = f"{found.verdict}, waits {100 * (found.waiting_share or 0):.0f} %; {found.steps} steps"
    yield measured(f"{about}: training", found.images_per_second or 0.0, "images/s", note)
    yield measured(f"{about}: network alone", found.network_images_per_second or 0.0, "images/s")
    yield measured(f"{about}: loader alone", found.loader_images_per_second or 0.0, "images/s")
    yield measured(f"{about}: peak memory", (found.peak_memory_bytes or 0) / 1e9, "GB")


def _workload(place: Place, name: str, loader: Loader) -> Iterable[Row]:
    workload = _sized(WORKLOADS[name], place)
    found = _measured(workload, place, loader)
    yield from _rows_of(name, found, workload.batch_size)
    beside = [
        f"{machine.name} {duration(machine.epoch_seconds[name] or 0.0)}"
        for machine in MACHINES_2017
        if machine.epoch_seconds.get(name)
    ]
    note = f"2017: {', '.join(beside)}" if place.cuda else "tiny: says nothing beside the posts' machines"
    yield measured(f"{name}, {loader}: epoch with its validation pass", found.epoch_seconds or 0.0, "s", note)


def _end_to_end(place: Place, model: str) -> Iterable[Row]:
    workload = replace(WORKLOADS[model], batch_size=32)
    found = _measured(workload, place, "parallel")
    yield from _rows_of(model, found, 32)
    yield at_least(
        f"{model}: goal of training, loader included", found.images_per_second or 0.0, GOALS[model], "images/s"
    )


def _batch_size(place: Place) -> int:
    return 32 if place.cuda else 2


def _alone(place: Place, model: str, form: str, rates: dict[str, float]) -> Iterable[Row]:
    count = _batch_size(place)
    recipe = steps.recipe(model, count, "bf16" if place.cuda else "fp32", None if place.cuda else 96)
    step = steps.training_step(recipe, place.device)
    batch = steps.batch(count, step.network.config.input_size_hw)
    batch = batch.pin_memory() if place.cuda else batch
    how = FORMS[form]
    if how is not None:
        step.network.compile(**how)
    for _ in range(10 if place.cuda else 1):  # compiled, and cuDNN's algorithms chosen
        step(batch)
    window = timed(itertools.repeat(batch), step, seconds=WINDOW_S / 2 if place.cuda else 0.0, device=place.device)
    rates[model] = max(window.images_per_second, rates.get(model, 0.0))
    note = f"{1e3 * window.seconds / window.steps:.1f} ms a step, {window.steps} steps"
    name = f"{model}, batch {count}, {recipe.precision}, {form}: step alone"
    yield measured(name, window.images_per_second, "images/s", note)


def _torchvision(place: Place, rates: dict[str, float]) -> Iterable[Row]:
    try:
        from benchmarks.peer_train import made
    except (ImportError, RuntimeError) as error:  # the latter where its operators are of another torch
        raise NotRunError("torchvision is not installed here, or does not load") from error
    count = TORCHVISION_BATCH if place.cuda else 2
    network, optimizer, images, targets = made("ssd300_vgg16", count, None if place.cuda else 96)
    network.to(place.device, memory_format=torch.channels_last)
    given = [image.to(place.device) for image in images]
    wanted = [{name: each.to(place.device) for name, each in target.items()} for target in targets]

    def step(_: object) -> None:
        with torch.autocast(place.device, torch.bfloat16, enabled=place.cuda):
            loss = sum(network(given, wanted).values())
        optimizer.zero_grad()
        loss.backward()  # pyright: ignore
        optimizer.step()

    for _ in range(5 if place.cuda else 1):
        step(None)
    window = timed(itertools.repeat(given), step, seconds=WINDOW_S / 2 if place.cuda else 0.0, device=place.device)
    precision = "bf16" if place.cuda else "fp32"
    name = f"torchvision's SSD300, batch {count}, {precision}: step alone"
    yield measured(name, window.images_per_second, "images/s")
    if place.cuda and "vgg300" in rates:
        times = rates["vgg300"] / window.images_per_second
        yield at_least("vgg300: goal beside torchvision, the best form of the step alone", times, TIMES, "times")
