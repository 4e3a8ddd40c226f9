"""What the chaos scripts share: a training that is small enough to be killed hundreds of times, in forked children.

A child that forks from a process with everything imported begins at once, where a new one would import torch for
seconds. The parent must not have computed a gradient before, or torch refuses to do so in the child.
"""

from __future__ import annotations

import hashlib
import os
import sys
import traceback
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from singleshot import weights
from singleshot.errors import SingleshotError
from singleshot.training import checkpoint
from singleshot.training.checkpoint import Checkpoint, CheckpointConfig
from singleshot.training.recipe import Recipe, override


def tiny(*, save_every: int, **changes: Any) -> Recipe:
    """A recipe with momentum, running mean, clipping and augmentation on pictures of 64×96."""
    recipe = Recipe(model="lite320-fine", input_size_hw=(64, 96), batch_size=1, workers=0, precision="fp32")
    recipe = override(recipe, ["optimizer.kind=adamw", "optimizer.lr=0.002", "schedule.warmup_steps=3"])
    return replace(recipe, checkpoint=CheckpointConfig(minutes=None, steps=save_every), train_subset=0, **changes)


def child(work: Callable[[], object]) -> int:
    """Fork a process that does the work and ends with 0, the exit code of its error, or 70; its process id."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python 3.12 warns of forks beside threads; the child uses one thread
        pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        torch.set_num_threads(1)
        work()
        code = 0
    except SingleshotError as error:
        code = error.exit_code
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def ended(pid: int) -> int:
    """Wait for a child; its exit code, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def newest(root: Path) -> Checkpoint | None:
    """The newest checkpoint; a damaged one under a checkpoint's name is an AssertionError."""

    def damaged(error: SingleshotError) -> None:
        raise AssertionError(f"corrupt: {error}") from error

    return checkpoint.newest(root, damaged)


def bits(file: Path) -> str:
    """A hash of all tensors of a weights file: what the training came to, without dates and times."""
    digest = hashlib.sha256()
    for name, tensor in weights.load(file).network.state_dict().items():
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
