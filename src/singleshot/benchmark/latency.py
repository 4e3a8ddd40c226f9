"""The latency of predictions: percentiles, rate and memory of every backend that runs a model here, by batch size.

`model.predict` is timed, from images in memory to results: resizing and non-maximum suppression are included. Each row
also gives the share of the machine's peak that the network's arithmetic reaches in that time, where the peak is
measured by a matrix product in the same precision and not taken from a data sheet.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from singleshot.benchmark.machine import peak_bytes, reset_peak
from singleshot.data.sample_scenes import sample_scenes
from singleshot.errors import SingleshotError
from singleshot.prediction.load import RUNS, find_weights, load
from singleshot.structures import Inputs

MATRIX_SIDES = {"cpu": 2048, "cuda": 8192}
"""Of the square matrices whose product gives the peak."""
EXPORTS = tuple(RUNS)
ENDINGS = {".param": ".ncnn.param"}
"""What an export's name ends in after the weights' name, where it is more than the suffix."""
MIN_CALLS = 5
IMAGE_HW = (375, 500)


@dataclass(frozen=True)
class Row:
    """One backend at one batch size.

    Args:
        backend: its name, with precision and device.
        batch_size: images in a call.
        median_s, p90_s, p99_s: of a call.
        images_per_second: by the median.
        memory_bytes: the peak of the CUDA device, or of the process; None where it cannot be measured.
        peak_share: of the measured peak, 0…1 and, where torch multiplies matrices badly, more; None where the
            arithmetic of the model cannot be counted.
        error: the reason of a failure.
    """

    backend: str
    batch_size: int
    median_s: float | None = None
    p90_s: float | None = None
    p99_s: float | None = None
    images_per_second: float | None = None
    memory_bytes: int | None = None
    peak_share: float | None = None
    error: str | None = None


@dataclass(frozen=True)
class _Variant:
    """A way to run the model."""

    name: str
    device: str
    dtype: torch.dtype
    open: Callable[[], Any]


def rows(weights: str, *, batch_sizes: Sequence[int], seconds: float, device: str = "auto") -> Iterator[Row]:
    """Yield each row as soon as it is measured.

    Args:
        weights: as `singleshot.load` takes it. Exports of the same name beside it are measured too.
        batch_sizes: images in a call.
        seconds: for each row, after a first call that is not timed; at least five calls are.
        device: `cpu`, `cuda`, or `auto` for all that exist.

    Raises:
        InputMissingError, DataError: the weights cannot be read.
    """
    path = find_weights(weights)
    work: float | None = None
    for variant in _variants(path, device):
        try:
            model = variant.open()
        except (SingleshotError, ImportError) as error:
            yield Row(variant.name, 0, error=str(error))
            continue
        work = work or operations(model)
        peak = peak_rate(variant.device, variant.dtype) if work is not None else None
        for batch_size in batch_sizes:
            try:
                yield _row(variant, model, batch_size, seconds, work, peak)
            except (RuntimeError, MemoryError) as error:  # torch's OutOfMemoryError is a RuntimeError
                yield Row(variant.name, batch_size, error=" ".join(str(error).split())[:160])
        del model
        gc.collect()


def operations(model: Any) -> float | None:
    """Return the floating-point operations of the network for one image, two for a multiplication with its addition.

    None for an export, whose arithmetic torch cannot count.
    """
    from torch.utils.flop_counter import FlopCounterMode

    if getattr(model, "network", None) is None or hasattr(model, "backend"):
        return None
    height, width = model.input_size_hw
    with FlopCounterMode(display=False) as counter:
        model.forward(Inputs(torch.zeros((1, height, width, 3), dtype=torch.uint8), [(height, width)]))
    return float(counter.get_total_flops()) or None


def peak_rate(device: str, dtype: torch.dtype, side: int | None = None) -> float:
    """Return the operations a second of the product of two square matrices: the best of five, after one untimed."""
    side = side or MATRIX_SIDES[device]
    one = torch.randn((side, side), device=device).to(dtype)
    best = float("inf")
    for turn in range(6):
        start = time.perf_counter()
        torch.mm(one, one)
        if device == "cuda":
            torch.cuda.synchronize()
        if turn:
            best = min(best, time.perf_counter() - start)
    return 2.0 * side**3 / best


def table(found: Sequence[Row]) -> str:
    """Return the rows as a table of text."""
    head = ["backend", "batch", "median ms", "p90 ms", "p99 ms", "images/s", "memory MB", "of peak"]
    lines = [head]
    for row in found:
        if row.error is not None:
            lines.append([row.backend, str(row.batch_size or "–"), f"failed: {row.error}"])
            continue
        times = [f"{1e3 * (each or 0):.2f}" for each in (row.median_s, row.p90_s, row.p99_s)]
        memory = "–" if row.memory_bytes is None else f"{row.memory_bytes / 1e6:.0f}"
        share = "–" if row.peak_share is None else f"{100 * row.peak_share:.0f} %"
        lines.append([row.backend, str(row.batch_size), *times, f"{row.images_per_second or 0:.1f}", memory, share])
    widths = [max(len(line[column]) for line in lines if len(line) == len(head)) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=False)).rstrip() for line in lines
    )


def _row(variant: _Variant, model: Any, batch_size: int, seconds: float, work: float | None, peak: float | None) -> Row:
    images = [np.asarray(cv2.resize(scene.image, IMAGE_HW[::-1]), np.uint8) for scene in sample_scenes()]
    batch = [images[index % len(images)] for index in range(batch_size)]
    on_cuda = variant.device == "cuda"
    torch.cuda.reset_peak_memory_stats() if on_cuda else reset_peak()
    model.predict(batch, batch_size=batch_size)
    times: list[float] = []
    started = time.perf_counter()
    while len(times) < MIN_CALLS or time.perf_counter() - started < seconds:
        start = time.perf_counter()
        model.predict(batch, batch_size=batch_size)  # its results are on the host: it has waited for the device
        times.append(time.perf_counter() - start)
    median, p90, p99 = np.percentile(times, [50, 90, 99]).tolist()
    memory = torch.cuda.max_memory_allocated() if on_cuda else peak_bytes([os.getpid()]) or None
    share = None if work is None or peak is None else work * batch_size / median / peak
    return Row(variant.name, batch_size, median, p90, p99, batch_size / median, memory, share)


def _variants(path: Path, device: str) -> Iterator[_Variant]:
    """Yield torch in both precisions on each device, and the exports beside the weights in every backend for them."""
    devices = [each for each in ("cpu", "cuda") if device in (each, "auto")]
    devices = [each for each in devices if each == "cpu" or torch.cuda.is_available()]
    if path.suffix not in EXPORTS:
        for where in devices:
            for name, dtype, bf16 in (("fp32", torch.float32, False), ("bf16", torch.bfloat16, True)):
                yield _Variant(f"torch {where} {name}", where, dtype, _opening(path, where, bf16))
    for export in (
        [path]
        if path.suffix in EXPORTS
        else [path.with_name(path.stem + ENDINGS.get(suffix, suffix)) for suffix in EXPORTS]
    ):
        if not export.is_file():
            continue
        for backend in RUNS[export.suffix]:
            # The other runtimes run on the CPU here.
            for where in devices if backend == "pt2" else ["cpu"]:
                yield _Variant(
                    f"{backend} {where} {export.name}", where, torch.float32, _opening(export, where, False, backend)
                )


def _opening(path: Path, device: str, bf16: bool, backend: str | None = None) -> Callable[[], Any]:
    return lambda: load(path, device=device, bf16=bf16, backend=backend, fold=True)
