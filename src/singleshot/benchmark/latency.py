"""How long an answer takes: percentiles, rate and memory of every way to run a model here, by batch size.

What is timed is `model.predict`, from pictures in memory to results: resizing and non-maximum suppression are part of
the wait. Beside it stands the share of the machine's peak that the network's arithmetic reaches in that time, with
the peak measured here by a matrix product in the same precision and not taken from a data sheet.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from singleshot.benchmark.processes import PROC
from singleshot.errors import SingleshotError
from singleshot.prediction.exported import ExportedDetector, ExportedSegmenter
from singleshot.prediction.locate import find_weights
from singleshot.prediction.opening import RUNS, load
from singleshot.streets.scene import scene

SIDES = {"cpu": 2048, "cuda": 8192}
"""Of the square matrices whose product gives the peak."""
EXPORTS = tuple(RUNS)
FEWEST = 5


@dataclass(frozen=True)
class Row:
    """One way at one batch size.

    Args:
        backend: what computes, in which precision, on which device.
        batch_size: pictures in a call.
        median_s, p90_s, p99_s: of a call.
        images_per_second: by the median.
        memory_bytes: the most that was held: of the CUDA device, or of the process; None where it cannot be known.
        peak_share: of the measured peak, 0…1 and, where torch multiplies matrices badly, more; None where the
            arithmetic of the model cannot be counted.
        error: why there are no figures.
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
class _Way:
    name: str
    device: str
    dtype: torch.dtype
    open: Callable[[], Any]


def rows(weights: str, *, batch_sizes: Sequence[int], seconds: float, device: str = "auto") -> Iterator[Row]:
    """Measure; each row as soon as it is known.

    Args:
        weights: as `singleshot.load` takes it. Exports of the same name beside it are measured too.
        batch_sizes: pictures in a call.
        seconds: for each row, after a first call that does not count; at least five calls are timed.
        device: `cpu`, `cuda`, or `auto` for all there are.

    Raises:
        InputMissingError, DataError: the weights cannot be read.
    """
    path = find_weights(weights)
    work: float | None = None
    for way in _ways(path, device):
        try:
            model = way.open()
        except (SingleshotError, ImportError) as error:
            yield Row(way.name, 0, error=str(error))
            continue
        work = work or operations(model)
        peak = peak_rate(way.device, way.dtype) if work is not None else None
        for batch_size in batch_sizes:
            try:
                yield _row(way, model, batch_size, seconds, work, peak)
            except (RuntimeError, MemoryError) as error:  # torch's OutOfMemoryError is a RuntimeError
                yield Row(way.name, batch_size, error=" ".join(str(error).split())[:160])
        del model
        gc.collect()


def operations(model: Any) -> float | None:
    """Floating-point operations of the network for one picture, two for a multiplication with its addition.

    None for an export, whose arithmetic torch does not see.
    """
    from torch.utils.flop_counter import FlopCounterMode

    is_export = isinstance(model, ExportedDetector | ExportedSegmenter)
    if is_export or not isinstance(getattr(model, "network", None), torch.nn.Module):
        return None
    height, width = model.input_size_hw
    with FlopCounterMode(display=False) as counter:
        model.raw(torch.zeros((1, height, width, 3), dtype=torch.uint8))
    return float(counter.get_total_flops()) or None


def peak_rate(device: str, dtype: torch.dtype, side: int | None = None) -> float:
    """Operations a second of the product of two square matrices: the best of five, after one that does not count."""
    side = side or SIDES[device]
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
    """The rows as text."""
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
    widths = [max(len(line[place]) for line in lines if len(line) == len(head)) for place in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=False)).rstrip() for line in lines
    )


def _row(way: _Way, model: Any, batch_size: int, seconds: float, work: float | None, peak: float | None) -> Row:
    pictures = [scene(0, "test", index, size_hw=(375, 500)).image for index in range(min(batch_size, 8))]
    batch = [pictures[index % len(pictures)] for index in range(batch_size)]
    _forget_peak(way.device)
    model.predict(batch, batch_size=batch_size)
    times: list[float] = []
    begun = time.perf_counter()
    while len(times) < FEWEST or time.perf_counter() - begun < seconds:
        start = time.perf_counter()
        model.predict(batch, batch_size=batch_size)  # its results are on the host: it has waited for the device
        times.append(time.perf_counter() - start)
    median, p90, p99 = np.percentile(times, [50, 90, 99]).tolist()
    share = None if work is None or peak is None else work * batch_size / median / peak
    return Row(way.name, batch_size, median, p90, p99, batch_size / median, _peak(way.device), share)


def _ways(path: Path, device: str) -> Iterator[_Way]:
    """Torch in both precisions on each device, and the exports beside the weights by everything that runs them."""
    devices = [each for each in ("cpu", "cuda") if device in (each, "auto")]
    devices = [each for each in devices if each == "cpu" or torch.cuda.is_available()]
    if path.suffix not in EXPORTS:
        for where in devices:
            for name, dtype, bf16 in (("fp32", torch.float32, False), ("bf16", torch.bfloat16, True)):
                yield _Way(f"torch {where} {name}", where, dtype, _opening(path, where, bf16))
    for export in [path] if path.suffix in EXPORTS else [path.with_suffix(suffix) for suffix in EXPORTS]:
        if not export.is_file():
            continue
        for backend in RUNS[export.suffix]:
            # ONNX Runtime and OpenVINO run on the CPU here.
            for where in devices if backend == "pt2" else ["cpu"]:
                yield _Way(
                    f"{backend} {where} {export.name}", where, torch.float32, _opening(export, where, False, backend)
                )


def _opening(path: Path, device: str, bf16: bool, backend: str | None = None) -> Callable[[], Any]:
    return lambda: load(path, device=device, bf16=bf16, backend=backend)


def _forget_peak(device: str) -> None:
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        with suppress(OSError):
            (PROC / "self" / "clear_refs").write_text("5", encoding="utf-8")  # Linux begins the peak anew


def _peak(device: str) -> int | None:
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    try:
        lines = (PROC / "self" / "status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)
