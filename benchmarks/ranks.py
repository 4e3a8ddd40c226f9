"""One process against two that share each batch: time a step, and what talking costs.

    python -m benchmarks.ranks [--steps 12] [--batch-size 8]

Both train the same recipe on the same drawn images with one thread a process, started as a user would. The figure is
the median of a step after the first ones, by each step's own clock. Two processes on a machine with fewer than two
free cores can only lose: run it where nothing else runs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.timing import machine

WARM_UP = 3


def worker(arguments: argparse.Namespace) -> None:
    """What each process does: train, and note when each step ended; the first one writes them down."""
    import torch

    from singleshot.training.recipe import Recipe, override
    from singleshot.training.run import NoObserver, train

    torch.set_num_threads(1)
    ends: list[float] = []

    class Clock(NoObserver):
        def step(self, **facts: object) -> None:
            del facts
            ends.append(time.perf_counter())

    recipe = override(
        Recipe(model=arguments.model, precision="fp32", workers=1, batch_size=arguments.batch_size, epochs=1000),
        [f"steps={arguments.steps}", "epochs=null", "validate_every=100000", "checkpoint.minutes=null"],
    )
    train(arguments.data, recipe, out=arguments.out, val_split=None, observer=Clock())
    if os.environ.get("RANK", "0") == "0":
        arguments.out.joinpath("ends.json").write_text(json.dumps(ends))


def median_step(scratch: Path, arguments: argparse.Namespace, processes: int, turn: int) -> float:
    """Seconds of a step of a run with so many processes."""
    out = scratch / f"run-{processes}-{turn}"
    given = ["--steps", str(arguments.steps), "--batch-size", str(arguments.batch_size), "--model", arguments.model]
    task = ["-m", "benchmarks.ranks", *given, "--data", str(scratch / "data"), "--out", str(out)]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    command = [sys.executable, *(launcher if processes > 1 else []), *task]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    subprocess.run(command, check=True, env=environment, stderr=subprocess.DEVNULL)
    ends = json.loads((out / "ends.json").read_text())
    return statistics.median(after - before for before, after in zip(ends[WARM_UP:], ends[WARM_UP + 1 :], strict=False))


def main() -> None:
    """Measure, and print; with `--out` be one of the processes that are measured."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--model", default="lite320-fine")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if arguments.out is not None:
        worker(arguments)
        return
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        make = [sys.executable, "-m", "singleshot", "data", "make", "streets", "--out", str(scratch / "data")]
        make += ["--count", "60"]
        subprocess.run(make, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        rounds = [
            {processes: median_step(scratch, arguments, processes, turn) for processes in (1, 2)}
            for turn in range(arguments.rounds)
        ]
    one, two = (statistics.median(each[processes] for each in rounds) for processes in (1, 2))
    print(machine("torch"))
    print(f"{arguments.model}, batches of {arguments.batch_size}, one thread a process")
    print(
        f"1 process:   {one * 1e3:.0f} ms a step\n2 processes: {two * 1e3:.0f} ms a step, {one / two:.2f} times as fast"
    )


if __name__ == "__main__":
    main()
