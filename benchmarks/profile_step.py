"""Where the time of a training step and of a prediction goes: torch's operations by their own time, largest first.

    .venv/bin/python -m benchmarks.profile_step --model lite320

The step is that of `benchmarks.train_step`, the prediction one call on a decoded 1280×720 frame. Shares are of the time
that torch's profiler sees on the calling thread; it slows small operations down, so shares say more than milliseconds.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.steps import arguments_of, recipe, step
from benchmarks.timing import machine
from singleshot.classes import VOC
from singleshot.detection.ssd import SSD, config_for
from singleshot.prediction.predictor import Detector

ROWS = 10
WARM_UP = 2


def shares(call: Callable[[], object], repeats: int) -> str:
    """A table of operations: share of the time, milliseconds and calls in one call."""
    return operations(profiled(call, repeats), repeats)


def profiled(call: Callable[[], object], repeats: int, *, cuda: bool = False) -> profile:
    """What torch's profiler sees of some calls, after a warm-up; on a CUDA device the kernels too."""
    for _ in range(WARM_UP):
        call()
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]) as seen:
        for _ in range(repeats):
            call()
        if cuda:
            torch.cuda.synchronize()
    return seen


def operations(seen: profile, repeats: int, *, cuda: bool = False) -> str:
    """The table of a profile, by the time of the calling thread or of the device's kernels."""
    own = "self_device_time_total" if cuda else "self_cpu_time_total"
    rows = sorted(seen.key_averages(), key=lambda row: getattr(row, own), reverse=True)
    total = max(sum(getattr(row, own) for row in rows), 1e-9)
    lines = [f"{'operation':<42} {'share':>6} {'ms':>8} {'calls':>6}"]
    for row in rows[:ROWS]:
        share, ms = getattr(row, own) / total, getattr(row, own) / 1000 / repeats
        lines.append(f"{row.key[:42]:<42} {share:6.1%} {ms:8.2f} {row.count / repeats:6.0f}")
    rest = sum(getattr(row, own) for row in rows[ROWS:])
    lines.append(f"{'the rest':<42} {rest / total:6.1%} {rest / 1000 / repeats:8.2f}")
    return "\n".join(lines)


def prediction(model: str) -> Callable[[], object]:
    """The whole call on one frame, by a network as it starts."""
    torch.manual_seed(0)
    network = SSD(config_for(model, VOC)).eval()
    network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]  # torch has it, not its types
    detector = Detector(network)
    frame = np.random.default_rng(0).integers(0, 256, (720, 1280, 3), dtype=np.uint8)
    return lambda: detector.predict(frame)


def main() -> None:
    """Profile both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="lite320")
    chosen = arguments_of(parser)
    print(machine("torch"), f"{chosen.threads} threads", sep=", ")
    training = step(recipe(chosen.model, chosen.batch_size, chosen.precision, chosen.size))
    print(f"\n{chosen.model}: a step of {chosen.batch_size}, {chosen.precision}\n{shares(training, chosen.repeats)}")
    print(f"\n{chosen.model}: one prediction, fp32\n{shares(prediction(chosen.model), chosen.repeats)}")


if __name__ == "__main__":
    main()
