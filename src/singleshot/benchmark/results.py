"""The file of a benchmark: a machine, and a result for each workload, measured or failed.

    {"machine": {…}, "workloads": {"vgg300": {"images_per_second": 5.1, "epoch_seconds": 5300.0, …, "error": null}}}

A workload that failed has its reason in `error` and null in what could not be measured. `training_seconds`, `noise`
and `notes` stand beside the figures that every file has.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from singleshot.benchmark.verdict import Verdict
from singleshot.config import from_json_dict
from singleshot.errors import ConfigError, DataError, InputMissingError
from singleshot.storage import atomic

Loader = Literal["serial", "parallel"]
TEXTS = ("gpu", "cpu", "precision", "data_disk")
"""Facts about a machine that reports put into a line."""
POSITIVE = (
    "images_per_second",
    "epoch_seconds",
    "training_seconds",
    "loader_images_per_second",
    "network_images_per_second",
)
NOT_NEGATIVE = ("waiting_share", "cpu_utilisation", "peak_memory_bytes", "noise", "steps", "measured_seconds")
SMALLEST, LARGEST = 1e-9, 1e15
"""No rate, no time and no memory comes near them; what is beyond comes from no measurement."""


@dataclass(frozen=True)
class Result:
    """One workload.

    Args:
        images_per_second: of training, loading included.
        epoch_seconds: of one epoch with its validation pass, as the 2017 post counts it.
        training_seconds: of the epoch without the validation pass.
        loader_images_per_second: of the loader alone.
        network_images_per_second: of the network alone.
        verdict: what limits, see `verdict`.
        waiting_share: share of the time in which the network waited for pictures, 0…1.
        cpu_utilisation: share of all cores' time that was used, 0…1.
        peak_memory_bytes: of the CUDA device; on a CPU of the process and its workers.
        batch_size: pictures a step.
        precision: of the arithmetic.
        steps: measured.
        measured_seconds: of the window that they fill.
        data: what was read.
        loader: how it was read.
        noise: of the step times, see `measure.noise`.
        notes: what a reader must know.
        error: why it failed; None where it did not.
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
    """What a benchmark's file holds."""

    machine: Mapping[str, Any]
    workloads: Mapping[str, Result] = field(default_factory=dict)

    def to_json(self) -> str:
        """The file's text."""
        tree = {
            "machine": dict(self.machine),
            "workloads": {name: asdict(each) for name, each in self.workloads.items()},
        }
        return json.dumps(tree, indent=2) + "\n"


def write(report: Report, path: Path) -> None:
    """Write the file. Raises what `atomic.write` raises."""
    atomic.write_text(path, report.to_json())


def read(path: Path) -> Report:
    """The inverse of `write`; what stands beside the figures may be missing.

    Raises:
        InputMissingError: there is no such file.
        DataError: it is not a benchmark's.
    """
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputMissingError(
            "no such file", remedy="Make it by: singleshot benchmark run --json", file=path
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise DataError("not JSON", remedy="Make it by: singleshot benchmark run --json", file=path) from error
    rows = tree.get("workloads") if isinstance(tree, dict) else None
    if not isinstance(rows, dict) or not isinstance(tree.get("machine"), dict):
        what = "no result of a benchmark: it needs machine and workloads"
        raise DataError(what, remedy="Make it by: singleshot benchmark run --json", file=path)
    for fact in TEXTS:
        if not isinstance(tree["machine"].get(fact, ""), str | None):
            what = f"machine.{fact} is {tree['machine'][fact]!r:.40} and not text"
            raise DataError(what, remedy="Make it by: singleshot benchmark run --json", file=path)
    defaults = {f.name: f.default for f in fields(Result) if f.name not in ("batch_size", "loader")}
    try:
        results = {
            name: from_json_dict(Result, {**defaults, **row, "notes": list(row.get("notes", ()))}, f"workloads.{name}")
            for name, row in rows.items()
        }
        for name, result in results.items():
            _check(result, f"workloads.{name}")
    except (ConfigError, TypeError, AttributeError) as error:
        what = error.message if isinstance(error, ConfigError) else "a workload is no table of figures"
        raise DataError(what, remedy="Make it by: singleshot benchmark run --json", file=path) from error
    return Report(tree["machine"], results)


def _check(result: Result, where: str) -> None:
    """Raises ConfigError for a figure that no measurement gives: NaN, infinity, below 0, or a rate or time of 0."""
    for name in (*POSITIVE, *NOT_NEGATIVE):
        value = getattr(result, name)
        if value is not None and not (SMALLEST if name in POSITIVE else 0) <= value <= LARGEST:
            raise ConfigError(f"{where}.{name} is {value!r:.40}")
