"""Workload after workload, each in a process of its own; one that fails is reported as failed and the rest go on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from singleshot.benchmark import data
from singleshot.benchmark.child import Job, reason
from singleshot.benchmark.machine import facts
from singleshot.benchmark.results import Report, Result
from singleshot.config import from_json_dict, to_json_dict
from singleshot.errors import SingleshotError
from singleshot.training.fabric import resolve_precision

CHILD = (sys.executable, "-m", "singleshot.benchmark.child")
KILLED = 9


def run(
    jobs: Sequence[Job],
    *,
    on_result: Callable[[str, Report], None] | None = None,
    on_drawing: Callable[[str, int, int], None] | None = None,
    child: Sequence[str] = CHILD,
) -> Report:
    """Measure all.

    Args:
        jobs: what to measure; drawn pictures are made first, so that no workload's process spends its time on that.
        on_result: is told of each workload as it ends, and given all that is known so far.
        on_drawing: is told of (workload, pictures drawn, pictures in all).
        child: the program that does a job.

    What goes wrong with a workload, its pictures too, is its result.
    """
    machine: dict[str, Any] | None = None
    report = Report({})
    for job in jobs:
        name = job.workload.name
        try:
            if job.data is None:
                data.drawn(job.workload, None if on_drawing is None else _named(on_drawing, name))
            found, result = run_one(job, child)
        except (SingleshotError, OSError) as error:
            found, result = None, Result(job.workload.batch_size, job.loader, error=reason(error))
        machine = machine or found
        # Where nothing could be measured yet it is still this machine that failed.
        known = machine or facts(device="cpu", precision=resolve_precision("auto", "cpu"), data=Path.cwd())
        report = Report(known, {**report.workloads, name: result})
        if on_result is not None:
            on_result(name, report)
    return report


def run_one(job: Job, child: Sequence[str] = CHILD) -> tuple[dict[str, Any] | None, Result]:
    """One job in a process of its own. The machine's facts are None where it failed.

    Raises OSError where the system's folder for temporary files is full.
    """
    with tempfile.TemporaryDirectory() as folder:
        asked, answered = Path(folder) / "job.json", Path(folder) / "result.json"
        asked.write_text(json.dumps(to_json_dict(job)), encoding="utf-8")
        # What it reads from is a pipe that nobody writes to: it ends when we do, however we end.
        with subprocess.Popen(
            [*child, str(asked), str(answered)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        ) as process:
            try:
                words = process.stderr.read().decode(errors="replace") if process.stderr is not None else ""
                code = process.wait()
            except BaseException:
                process.kill()
                raise
        if not answered.is_file():
            failed = _death(code, words.strip().splitlines())
            return None, Result(job.workload.batch_size, job.loader, error=failed)
        answer: Mapping[str, Any] = json.loads(answered.read_text(encoding="utf-8"))
    return answer["machine"], from_json_dict(Result, answer["result"], "result")


def _death(code: int, words: Sequence[str]) -> str:
    """Why a process left no result: the signal that killed it, or its last words."""
    if code == -KILLED:
        return "killed by the system (likely out of memory)"
    if code < 0:
        return f"crashed ({signal.Signals(-code).name})"
    return f"ended with code {code}: {words[-1][:200] if words else 'no word of why'}"


def _named(tell: Callable[[str, int, int], None], name: str) -> Callable[[int, int], None]:
    return lambda done, total: tell(name, done, total)
