"""What it costs to get a batch out of a worker process: time, memory over an epoch, and what a kill leaves behind.

The workers do next to nothing (they hand out memory), so what is measured is the way from them to the trainer. Ours
goes as uint8, four times less than the floats that a dataset of normalised tensors sends through the same DataLoader;
floats are made behind it, on the device. Equal pixels at both ends are asserted first.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.timing import interleaved, machine, ratio, table
from singleshot.data.load.memory import SHARED_MEMORY, BlockPool
from singleshot.data.load.workers import Begin, Workers

BATCH, SIZE, BATCHES, WORKERS = 32, 300, 40, 2
PICTURES = BATCH * BATCHES
POOL = BlockPool()
LIMIT_MS, LIMIT_GROWTH_MB = 0.5, 32.0


def bytes_batch(task: int, _begin: Begin) -> torch.Tensor:
    """A batch as the loader makes it: reused memory of uint8."""
    images = POOL.array((BATCH, SIZE, SIZE, 3))
    images[:, 0] = task % 256
    return torch.from_numpy(images)


def float_batch(task: int, _begin: Begin) -> torch.Tensor:
    """A batch as a dataset of normalised tensors makes it."""
    images = torch.empty((BATCH, 3, SIZE, SIZE))
    images[:, :, 0] = task % 256
    return images


def workers(work: Callable[[int, Begin], torch.Tensor]) -> Workers[int, torch.Tensor]:
    """Two of them, with the work to do."""
    return Workers(work, workers=WORKERS, file_of=lambda item: Path(str(item)))


def run(some: Workers[int, torch.Tensor]) -> None:
    """One epoch; each batch is looked at in one place and let go."""
    for task, batch in enumerate(some.run(range(BATCHES))):
        value = int(batch.flatten()[0])
        if value != task % 256:
            sys.exit(f"batch {task} came as {value}")


def own_megabytes() -> float:
    """This process's and its workers' memory, each shared page divided among those who share it (PSS)."""
    total = 0
    for process in (os.getpid(), *_descendants(os.getpid())):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text(encoding="utf-8").splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1e3


def _descendants(parent: int) -> list[int]:
    children = [int(word) for word in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
    return children + [each for child in children for each in _descendants(child)]


def left_after_kill() -> tuple[set[str], set[int]]:
    """Kill a run in its middle: the new names in shared memory and the processes that are left a few seconds later."""
    before = {path.name for path in SHARED_MEMORY.iterdir()}
    command = [sys.executable, "-m", "benchmarks.transport", "--forever"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)  # the killed one's last words
    if child.stdout is not None:
        child.stdout.readline()
    descendants = _descendants(child.pid)
    child.send_signal(signal.SIGKILL)
    child.wait()
    time.sleep(5.0)
    alive = {process for process in descendants if Path(f"/proc/{process}").exists()}
    return {path.name for path in SHARED_MEMORY.iterdir()} - before, alive


def main() -> None:
    """Measure, and print the figures beside their limits; 1 where one is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--forever", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    ours, theirs = workers(bytes_batch), workers(float_batch)
    if arguments.forever:
        for _ in ours.run(range(10**9)):
            print("running", flush=True)
    calls = {"uint8": lambda: run(ours), "float32": lambda: run(theirs)}
    times = interleaved(calls, repeats=arguments.repeats, clock=time.perf_counter)
    print(machine("torch", "numpy"), f"{WORKERS} workers, batches of {BATCH} × {SIZE} × {SIZE} × 3", sep="\n")
    print(table(times, per="image", count=PICTURES))
    each_ms = 1e3 * times["uint8"].median_s / PICTURES
    print(f"uint8: {each_ms:.3f} ms an image (limit {LIMIT_MS}), {ratio(times, 'float32', 'uint8'):.1f} times float32")

    theirs.close()
    run(ours)
    before = own_megabytes()
    for _ in range(5):
        run(ours)
    growth = own_megabytes() - before
    print(f"memory of all processes (PSS): {before:.0f} MB, and {growth:+.1f} MB five epochs later")
    ours.close()
    names, alive = left_after_kill()
    print(f"left after a kill: in {SHARED_MEMORY} {sorted(names) or 'nothing'}, processes {sorted(alive) or 'none'}")
    sys.exit(int(each_ms > LIMIT_MS or growth > LIMIT_GROWTH_MB or bool(names) or bool(alive)))


if __name__ == "__main__":
    main()
