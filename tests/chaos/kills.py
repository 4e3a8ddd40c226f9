"""kill -9 at random moments of saving and of training: no checkpoint is corrupt, no acknowledged one is lost.

    python -m tests.chaos.kills            a few kills
    python -m tests.chaos.kills --long     200

Half of the kills hit a process that does nothing but save; the other half a training that saves as often as it
can, and each time goes on from what the kill left. A save is acknowledged when `checkpoint.write` has returned.
"""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from singleshot.training import checkpoint
from singleshot.training.checkpoint import CheckpointConfig
from singleshot.training.run import NoObserver, train
from tests.chaos.runs import child, ended, newest, tiny
from tests.training.conftest import draw_squares


@dataclass
class Outcome:
    """What the kills came to."""

    kills: int = 0
    acknowledged: int = 0
    left_over: int = 0
    last_step: int = 0


def save_for_ever(root: Path, acknowledge: Callable[[int], None]) -> None:
    """Saves of 1.2 MB one after the other, from the step on that is there."""
    there = newest(root)
    for step in range(1 if there is None else there.step + 1, 1 << 30):
        checkpoint.write(root, step, {"a": torch.full((300_000,), float(step))}, {"step": step})
        acknowledge(step)
        checkpoint.prune(root, CheckpointConfig(), step)


def train_for_ever(data: Path, out: Path, acknowledge: Callable[[int], None]) -> None:
    """A training that saves as often as it can, and goes on where it was killed."""
    honest = checkpoint.write

    def reported(root: Path, step: int, *rest: Any) -> Path:
        path = honest(root, step, *rest)
        acknowledge(step)
        return path

    checkpoint.write = reported
    recipe = tiny(save_every=1, epochs=1 << 20, validate_every=1 << 20)
    train(data, recipe, out=out, val_split=None, resume=True, observer=NoObserver())


def kill_often(
    root: Path, work: Callable[[Callable[[int], None]], None], kills: int, seed: int, longest_wait_s: float
) -> Outcome:
    """Start the work, kill it at a random moment, mostly after its first save, look at what is left; and again."""
    rng = np.random.default_rng(seed)
    outcome = Outcome()
    for _ in range(kills):
        reader, writer = os.pipe()
        pid = child(lambda writer=writer: work(lambda step: os.write(writer, f"{step}\n".encode()) and None))
        os.close(writer)
        with os.fdopen(reader, "rb", buffering=0) as pipe:
            said = pipe.read(1) if rng.random() < 0.8 or not outcome.kills else b""  # waits for the first
            time.sleep(float(rng.uniform(0.0, longest_wait_s)))
            os.kill(pid, signal.SIGKILL)
            assert ended(pid) == -signal.SIGKILL, "it ended by itself"
            while more := pipe.read(1 << 16):
                said += more
        steps = [int(line) for line in said.split(b"\n")[:-1]]
        for path in root.glob("step-*"):
            checkpoint.read(path)  # whatever has a checkpoint's name is whole
        found = newest(root)
        assert found is not None and found.step >= max([outcome.last_step, *steps]), f"lost: {steps}, {found}"
        outcome.kills += 1
        outcome.acknowledged += len(steps)
        outcome.left_over += len(list(root.glob(".step-*")))
        outcome.last_step = found.step
        if outcome.kills % 3 == 0:  # what a new training does; not each time, so that leftovers meet new saves too
            checkpoint.clean(root)
    checkpoint.clean(root)
    assert not list(root.glob(".*")), "leftovers stay"
    return outcome


def main(kills: int, seed: int = 0) -> list[Outcome]:
    """So many kills, half and half; raises AssertionError at the first thing lost."""
    with tempfile.TemporaryDirectory() as scratch:
        saves, out = Path(scratch, "saves"), Path(scratch, "run")
        saves.mkdir()
        data = draw_squares(Path(scratch, "squares"))
        saving = kill_often(saves, lambda done: save_for_ever(saves, done), kills - kills // 2, seed, 0.5)
        training = kill_often(out / "checkpoints", lambda done: train_for_ever(data, out, done), kills // 2, seed, 1.5)
    for name, outcome in (("saving", saving), ("training", training)):
        print(
            f"{name}: {outcome.kills} kills, {outcome.acknowledged} saves acknowledged, 0 corrupt, 0 lost; "
            f"{outcome.left_over} half-written folders ignored and cleaned; came to step {outcome.last_step}"
        )
    return [saving, training]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    main(200 if given.long else 4, given.seed)
