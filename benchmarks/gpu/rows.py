"""A row of the suite's results, and how a stage's checks are run one after the other within its time."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from benchmarks.gpu_suite import NO_CUDA

State = Literal["passed", "failed", "measured", "not run"]
NO_TIME = "no time was left"
LIGHT = "lite320-fine2"


@dataclass(frozen=True)
class Row:
    """One result.

    Args:
        check: what was looked at.
        state: `passed` or `failed` of what has a bound, `measured` of what has none, or `not run`.
        value: the figure; None where there is none.
        unit: of the figure.
        bound: the largest figure that passes (the least, for a share that must be reached); None for none.
        note: the reason of a failure or of a check that was not run, or a remark.
        seconds: that the check took until this row.
    """

    check: str
    state: State
    value: float | None = None
    unit: str = ""
    bound: float | None = None
    note: str = ""
    seconds: float = 0.0


class NotRunError(Exception):
    """A check cannot be made here; says why."""


@dataclass(frozen=True)
class Check:
    """A part of a stage.

    Args:
        name: of the check, for the row that says that it failed or was not run.
        run: makes its rows, one after the other.
        cuda_only: it says something of a CUDA device alone, so that a CPU never makes it.
    """

    name: str
    run: Callable[[], Iterable[Row]]
    cuda_only: bool = False


@dataclass(frozen=True)
class Place:
    """Where a stage runs.

    Args:
        device: `cuda` or `cpu`; on a CPU every size is tiny.
        seconds: of the stage.
        out: the suite's folder.
        pool: a folder of images for the pre-training, or None.
        teacher_file: its teacher's file, or None.
    """

    device: str
    seconds: float
    out: Path
    pool: Path | None = None
    teacher_file: Path | None = None

    @property
    def models(self) -> tuple[str, ...]:
        """The detectors to measure: those with goals, or on a CPU a light one that stands for them."""
        return ("vgg300", "vgg512") if self.cuda else (LIGHT,)

    @property
    def cuda(self) -> bool:
        """Whether the device is a CUDA device."""
        return self.device == "cuda"


def within(check: str, value: float, bound: float, unit: str = "", note: str = "") -> Row:
    """A row that passes up to a bound; a figure that is not finite does not."""
    if not math.isfinite(value):
        return Row(check, "failed", None, unit, bound, "not finite")
    return Row(check, "passed" if value <= bound else "failed", value, unit, bound, note)


def at_least(check: str, value: float, bound: float, unit: str = "", note: str = "") -> Row:
    """A row that passes from a bound on; a figure that is not finite does not."""
    if not math.isfinite(value):
        return Row(check, "failed", None, unit, bound, "not finite")
    return Row(check, "passed" if value >= bound else "failed", value, unit, bound, note)


def measured(check: str, value: float, unit: str, note: str = "") -> Row:
    """A row with a figure that has no bound."""
    return Row(check, "measured", value, unit, note=note)


def run_checks(checks: Iterable[Check], place: Place, emit: Callable[[Row], None]) -> None:
    """Make checks until the stage's time is over; each that fails or is not made has a row that says why."""
    end = time.monotonic() + place.seconds
    for check in checks:
        if check.cuda_only and not place.cuda:
            emit(Row(check.name, "not run", note=NO_CUDA))
            continue
        if time.monotonic() >= end:
            emit(Row(check.name, "not run", note=NO_TIME))
            continue
        started = time.monotonic()
        try:
            for row in check.run():
                emit(replace(row, seconds=round(time.monotonic() - started, 2)))
        except NotRunError as error:
            emit(Row(check.name, "not run", note=str(error)))
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            emit(Row(check.name, "failed", note=reason, seconds=round(time.monotonic() - started, 2)))
        gc.collect()
        if place.cuda:
            torch.cuda.empty_cache()
