"""A training killed at a random moment and resumed comes to the same weights, bit for bit, as one that was left alone.

    python -m tests.chaos.kill_points            1 kill point
    python -m tests.chaos.kill_points --long     20, of them 5 under two ranks

Each kill is a run of its own: kill -9 at a random moment of it, `--resume` to its end, and the hash of all tensors.
Under two ranks (gloo, started by torchrun) one of the two is hit; the other must end too, and both start again.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from singleshot.training.run import NoObserver, train
from tests.chaos.runs import bits, child, ended, tiny
from tests.training.conftest import draw_squares

EPOCHS, STEPS_PER_EPOCH = 3, 4
TWO_RANKS = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "singleshot", "train"]
TWO_RANKS += ["--batch-size", "4", "--input-size", "64x96", "--workers", "1", "--precision", "fp32", "--steps", "12"]
TWO_RANKS += ["--set", "checkpoint.steps=1", "--set", "validate_every=1000", "--set", "rank_timeout_s=20"]


class Reporter(NoObserver):
    """Writes a byte after each step."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe

    def step(self, **facts: Any) -> None:
        del facts
        os.write(self._pipe, b".")


def alone(data: Path, out: Path, rng: np.random.Generator | None) -> bool:
    """Train (or go on) in a child, killed at a random moment where a generator is given; whether it came to its end."""
    reader, writer = os.pipe()
    recipe = tiny(save_every=2, epochs=EPOCHS)
    pid = child(lambda: train(data, recipe, out=out, resume=True, observer=Reporter(writer)))
    os.close(writer)
    with os.fdopen(reader, "rb", buffering=0) as pipe:
        if rng is not None:
            for _ in range(int(rng.integers(0, EPOCHS * STEPS_PER_EPOCH))):
                pipe.read(1)
            time.sleep(float(rng.uniform(0.0, 0.3)))
            os.kill(pid, signal.SIGKILL)
        code = ended(pid)
    assert code in (0, -signal.SIGKILL), code
    return code == 0


def together(data: Path, out: Path, rng: np.random.Generator | None) -> bool:
    """The same with two ranks; the one that is killed is either."""
    command = [sys.executable, *TWO_RANKS, "--data", str(data), "--out", str(out), "--resume"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment) as process:
        if rng is not None:
            wanted = int(rng.integers(1, 10))
            while process.poll() is None and _steps_saved(out) < wanted:
                time.sleep(0.02)
            time.sleep(float(rng.uniform(0.0, 0.2)))
            ranks = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            if process.poll() is None and (pids := ranks.read_text().split()):
                os.kill(int(pids[int(rng.integers(len(pids)))]), signal.SIGKILL)
        said = process.communicate(timeout=120)[0].decode()
    assert process.returncode == 0 or rng is not None, said
    return process.returncode == 0


def _steps_saved(out: Path) -> int:
    names = [re.fullmatch(r"step-(\d+)", path.name) for path in out.glob("checkpoints/step-*")]
    return max((int(name[1]) for name in names if name), default=0)


def main(one: int, two: int, seed: int = 0) -> None:
    """So many kill points with one process and with two; AssertionError where a hash differs."""
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as scratch:
        data = draw_squares(Path(scratch, "squares"))
        for name, run, points in (("one process", alone, one), ("two ranks", together, two)):
            whole = Path(scratch, "whole")
            if points:
                run(data, whole, None)
                expected = bits(whole / "last.safetensors")
            survived = 0
            for _ in range(points):
                out = Path(scratch, "run")
                survived += run(data, out, rng)
                run(data, out, None)
                assert bits(out / "last.safetensors") == expected, name
                shutil.rmtree(out)
            if points:
                shutil.rmtree(whole)
                print(f"{name}: {points} kill points ({survived} came after the end), all resumed to {expected}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    main(*((15, 5) if given.long else (1, 0)), given.seed)
