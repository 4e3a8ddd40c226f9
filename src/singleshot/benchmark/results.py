"""The file of a benchmark: a machine, and a result for each workload, measured or failed; and two files compared.

    {"machine": {…}, "workloads": {"vgg300": {"images_per_second": 5.1, "epoch_seconds": 5300.0, …, "error": null}}}

A workload that failed has its reason in `error` and null for each figure that could not be measured. Files of older
versions may lack `training_seconds`, `noise` and `notes`.

Each rate has been measured with an interval of its own (`measure.noise`). Two rates differ where the logarithm of
their ratio is larger than both intervals together; below 3 % nothing is called a difference, because a machine is not
the same twice: heat, other processes, the placement of its memory.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from singleshot.benchmark.measure import Verdict
from singleshot.config import from_json_dict
from singleshot.errors import ConfigError, DataError, InputMissingError
from singleshot.storage import atomic

Loader = Literal["serial", "parallel"]
TEXTS = ("gpu", "cpu", "precision", "data_disk")
"""Facts about a machine that reports print on a line."""
POSITIVE = (
    "images_per_second",
    "epoch_seconds",
    "training_seconds",
    "loader_images_per_second",
    "network_images_per_second",
)
NOT_NEGATIVE = ("waiting_share", "cpu_utilisation", "peak_memory_bytes", "noise", "steps", "measured_seconds")
SMALLEST, LARGEST = 1e-9, 1e15
"""No rate, time or memory comes near them; a figure beyond was not measured."""
MIN_NOISE = 0.03
UNKNOWN_NOISE = 0.1
"""Of a rate from fewer than three steps, which have no measurable spread."""
CONDITIONS = (
    *("device", "cpu", "cores", "gpu", "driver", "torch", "threads", "precision"),
    *("tf32", "cudnn_benchmark", "data_disk", "system"),
)
_REMEDY = "Make it by: singleshot benchmark run --json"


@dataclass(frozen=True)
class Result:
    """The result of one workload.

    Args:
        images_per_second: of training, loading included.
        epoch_seconds: of one epoch with its validation pass, as the 2017 post counts it.
        training_seconds: of the epoch without the validation pass.
        loader_images_per_second: of the loader alone.
        network_images_per_second: of the network alone.
        verdict: which side is the limit, see `measure.verdict`.
        waiting_share: share of the time in which the network waited for images, 0…1.
        cpu_utilisation: share of all cores' time that was used, 0…1.
        peak_memory_bytes: of the CUDA device; on a CPU of the process and its workers.
        batch_size: images a step.
        precision: of the arithmetic.
        steps: the number measured.
        measured_seconds: their duration.
        data: a description of the images.
        loader: `serial` in the main thread, `parallel` in workers.
        noise: of the step times, see `measure.noise`.
        notes: remarks for the reader.
        error: the reason of a failure; None for a success.
    """

    batch_size: int
    loader: Loader
    images_per_second: float | None = None
    epoch_seconds: float | None = None
    training_seconds: float | None = None
    loader_images_per_second: float | None = None
    network_images_per_second: float | None = None
    verdict: Verdict | None = None
    waiting_share: float | None = None
    cpu_utilisation: float | None = None
    peak_memory_bytes: int | None = None
    precision: str | None = None
    steps: int = 0
    measured_seconds: float = 0.0
    data: str | None = None
    noise: float | None = None
    notes: tuple[str, ...] = ()
    error: str | None = None


@dataclass(frozen=True)
class Report:
    """The content of a benchmark's file."""

    machine: Mapping[str, Any]
    workloads: Mapping[str, Result] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the text of the file."""
        tree = {
            "machine": dict(self.machine),
            "workloads": {name: asdict(each) for name, each in self.workloads.items()},
        }
        return json.dumps(tree, indent=2) + "\n"


def write(report: Report, path: Path) -> None:
    """Write the file. Raises as `atomic.write`."""
    atomic.write_text(path, report.to_json())


def read(path: Path) -> Report:
    """Read what `write` writes; fields that have a default may be missing.

    Raises:
        InputMissingError: the file does not exist.
        DataError: it is not the file of a benchmark.
    """
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputMissingError("no such file", remedy=_REMEDY, file=path) from error
    except (OSError, ValueError, RecursionError) as error:
        raise DataError("not JSON", remedy=_REMEDY, file=path) from error
    rows = tree.get("workloads") if isinstance(tree, dict) else None
    if not isinstance(rows, dict) or not isinstance(tree.get("machine"), dict):
        message = "not the result of a benchmark: it needs machine and workloads"
        raise DataError(message, remedy=_REMEDY, file=path)
    for fact in TEXTS:
        if not isinstance(tree["machine"].get(fact, ""), str | None):
            message = f"machine.{fact} is {tree['machine'][fact]!r:.40} and not text"
            raise DataError(message, remedy=_REMEDY, file=path)
    defaults = {f.name: f.default for f in fields(Result) if f.name not in ("batch_size", "loader")}
    try:
        results = {
            name: from_json_dict(Result, {**defaults, **row, "notes": list(row.get("notes", ()))}, f"workloads.{name}")
            for name, row in rows.items()
        }
        for name, figure in itertools.product(results, (*POSITIVE, *NOT_NEGATIVE)):
            value = getattr(results[name], figure)  # NaN, infinity and values below 0 cannot be measured
            if value is not None and not (SMALLEST if figure in POSITIVE else 0) <= value <= LARGEST:
                raise ConfigError(f"workloads.{name}.{figure} is {value!r:.40}")
    except (ConfigError, TypeError, AttributeError) as error:
        message = error.message if isinstance(error, ConfigError) else "a workload is not an object of figures"
        raise DataError(message, remedy=_REMEDY, file=path) from error
    return Report(tree["machine"], results)


@dataclass(frozen=True)
class Difference:
    """One workload in two benchmarks.

    Args:
        name: of the workload.
        ratio: the second's images per second over the first's; None where one of them failed.
        noise: the ratio may differ from 1 by this share without meaning anything.
        other_conditions: the conditions that differ: batch, precision, loader, data.
    """

    name: str
    ratio: float | None
    noise: float
    other_conditions: tuple[str, ...] = ()

    @property
    def larger_than_noise(self) -> bool:
        """Whether the two differ by more than the noise."""
        return self.ratio is not None and abs(math.log(self.ratio)) > math.log1p(self.noise)

    def __str__(self) -> str:
        if self.ratio is None:
            return f"{self.name}: failed in one of the two"
        change = f"{100 * (self.ratio - 1):+.1f} %"
        conclusion = "a difference" if self.larger_than_noise else "no difference"
        line = f"{self.name}: {change} images/s, {conclusion} (noise ±{100 * self.noise:.1f} %)"
        return f"{line}; conditions that differ: {', '.join(self.other_conditions)}" if self.other_conditions else line


def compare(first: Report, second: Report) -> list[Difference]:
    """Compare the workloads that both have, in the first's order; empty where they have none in common."""
    found = []
    for name in (name for name in first.workloads if name in second.workloads):
        one, two = first.workloads[name], second.workloads[name]
        if not one.images_per_second or not two.images_per_second:
            found.append(Difference(name, None, 0.0))
            continue
        spreads = [UNKNOWN_NOISE if each.noise is None else each.noise for each in (one, two)]
        ratio, noise = two.images_per_second / one.images_per_second, max(MIN_NOISE, math.hypot(*spreads))
        facts = ("batch_size", "precision", "loader", "data")
        found.append(Difference(name, ratio, noise, tuple(f for f in facts if getattr(one, f) != getattr(two, f))))
    return found


def other_machine(first: Report, second: Report) -> list[str]:
    """Return the facts in which the two machines differ, as lines."""
    return [
        f"{fact}: {first.machine.get(fact)} → {second.machine.get(fact)}"
        for fact in CONDITIONS
        if first.machine.get(fact) != second.machine.get(fact)
    ]
