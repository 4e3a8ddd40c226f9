"""Stage 5: how near a step and a prediction come to what the device can do, and where the rest of the time goes.

Peaks are measured here, not taken from a data sheet: the best of five products of large square matrices, and the copy
of a large tensor. Operations are counted by torch; bytes are those of every operation's inputs and outputs, as if
nothing were fused and nothing stayed in a cache, so that a share of the bandwidth above 100 % shows how much is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import steps
from benchmarks.gpu.inference import forward, images_of, network_of
from benchmarks.gpu.rows import LIGHT, Check, Place, Row, measured
from benchmarks.profile_step import operations, profiled
from singleshot.benchmark.latency import peak_rate

REPEATS = 5
SHORT_US = 10.0
COPIED_BYTES = {"cuda": 1 << 30, "cpu": 1 << 24}


class Traffic(TorchDispatchMode):
    """Adds up the bytes of the tensors that each operation reads and writes; views move none."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        found = func(*args, **(kwargs or {}))
        if not func.is_view:
            tensors = [each for each in tree_leaves((args, kwargs, found)) if isinstance(each, torch.Tensor)]
            self.bytes += sum(each.numel() * each.element_size() for each in tensors)
        return found


def checks(place: Place) -> Iterable[Check]:
    """The peaks, then each workload against them."""
    peaks: dict[str, float] = {}
    yield Check("measured peaks", partial(_peaks, place, peaks))
    for model in place.models:
        yield Check(f"{model}: limits of a training step", partial(_training, place, model, peaks))
    yield Check(f"{place.models[0]}: limits of inference", partial(_inference, place, place.models[0], peaks))
    if not place.cuda:
        yield Check("time in kernels under 10 µs", partial(_training, place, LIGHT, peaks), cuda_only=True)


def _peaks(place: Place, peaks: dict[str, float]) -> Iterable[Row]:
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        peaks[name] = peak_rate(place.device, dtype, None if place.cuda else 256)
        yield measured(f"matrix multiplication, {name}", peaks[name] / 1e12, "TFLOP/s")
    one = torch.zeros(COPIED_BYTES[place.device], dtype=torch.uint8, device=place.device)
    two = torch.empty_like(one)
    best = min(_seconds(place, lambda: two.copy_(one)) for _ in range(6))
    peaks["bandwidth"] = 2 * one.numel() / best
    yield measured("memory bandwidth, read and written", peaks["bandwidth"] / 1e9, "GB/s")


def _seconds(place: Place, call: Callable[[], object], count: int = 1) -> float:
    """Wall time of a call, the device's work included."""
    start = time.perf_counter()
    for _ in range(count):
        call()
    if place.cuda:
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / count


def _training(place: Place, model: str, peaks: dict[str, float]) -> Iterable[Row]:
    count, precision = (32, "bf16") if place.cuda else (2, "fp32")
    recipe = steps.recipe(model, count, precision, None if place.cuda else 96)
    step = steps.training_step(recipe, place.device)
    batch = steps.batch(count, step.network.config.input_size_hw)
    batch = batch.pin_memory() if place.cuda else batch
    yield from _shares(place, f"{model}, batch {count}, {precision}, training", lambda: step(batch), peaks, precision)


def _inference(place: Place, model: str, peaks: dict[str, float]) -> Iterable[Row]:
    count, precision = (32, "bf16") if place.cuda else (1, "fp32")
    network = network_of(place, model)
    images = images_of(place, network, count)
    name = f"{model}, batch {count}, {precision}, inference without NMS"
    yield from _shares(place, name, lambda: forward(place, network, images), peaks, precision)


def _shares(
    place: Place, name: str, call: Callable[[], object], peaks: dict[str, float], precision: str
) -> Iterable[Row]:
    for _ in range(5 if place.cuda else 1):
        call()
    seconds = _seconds(place, call, 20 if place.cuda else 1)
    with FlopCounterMode(display=False) as counter:
        call()
    with Traffic() as traffic:
        call()
    flops = float(counter.get_total_flops())
    yield measured(
        f"{name}: time", 1e3 * seconds, "ms", f"{flops / 1e9:.1f} GFLOP, {traffic.bytes / 1e9:.2f} GB unfused"
    )
    yield measured(f"{name}: of the measured {precision} peak", 100 * flops / seconds / peaks[precision], "%")
    yield measured(
        f"{name}: of the measured bandwidth", 100 * traffic.bytes / seconds / peaks["bandwidth"], "%", "as if unfused"
    )
    seen = profiled(call, REPEATS if place.cuda else 1, cuda=place.cuda)
    file = place.out / f"profile-{name.replace(', ', '-').replace(' ', '-')}.txt"
    file.write_text(operations(seen, REPEATS if place.cuda else 1, cuda=place.cuda) + "\n", encoding="utf-8")
    if not place.cuda:
        return
    kernels = [each.time_range.elapsed_us() for each in seen.events() or () if "CUDA" in str(each.device_type)]
    short = sum(each for each in kernels if each < SHORT_US)
    note = f"{len(kernels) // REPEATS} kernels a call; the device is busy {sum(kernels) / REPEATS / 1e3:.1f} ms of it"
    yield measured(f"{name}: time in kernels under {SHORT_US:g} µs", 100 * short / max(sum(kernels), 1e-9), "%", note)
