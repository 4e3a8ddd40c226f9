"""Everything that a GPU must prove and measure, in one prepared run that fits into minutes.

    python -m benchmarks.gpu_suite --minutes 6 --out runs/gpu
    python -m benchmarks.gpu_suite --minutes 3 --device cpu --out runs/gpu-cpu      the same code, tiny, on a CPU

Stages run in order of worth, each in a process of its own, which a fault of the device cannot outlive, and in a time of
its own; what a stage leaves over goes to those after it. Every result is written as it comes (OUT/STAGE.jsonl), and
after each stage all of them as OUT/suite.json and OUT/suite.md: a run that is cut still counts. A stage that fails says
why, and the next begins. What cannot be checked here is listed as not run, and never passes.

It runs from a checkout, without a network and without singleshot installed.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
BEGUN_WITHIN = 0.85
"""Share of a stage's time within which its checks are begun; at the end of it the process is ended."""
FAILED = 70
NEEDED = {
    "torch": "torch",
    "numpy": "numpy",
    "cv2": "opencv-python-headless",
    "PIL": "pillow",
    "numba": "numba",
    "safetensors": "safetensors",
    "filelock": "filelock",
    "typer": "typer",
    "rich": "rich",
    "jaxtyping": "jaxtyping",
    "yaml": "pyyaml",
}
"""What every stage imports, with the package that brings it; lightning or lightning-fabric is needed too."""
NO_CUDA = "needs a CUDA device"


@dataclass(frozen=True)
class Stage:
    """A part of the suite.

    Args:
        name: of its module in `benchmarks.gpu`.
        title: for the report.
        weight: its share of the time that is left, against the weights of the stages after it.
    """

    name: str
    title: str
    weight: float


STAGES = (
    Stage("correctness", "Correctness: the device against the CPU", 30),
    Stage("training", "Training: the workloads of 2017, networks alone, torchvision beside", 32),
    Stage("inference", "Inference: network, NMS, runtimes, video", 16),
    Stage("pretraining", "Pre-training for the rest of the minutes", 14),
    Stage("limits", "Limits: shares of the measured peaks, and the profile of a step", 8),
)


def time_boxes(stages: tuple[Stage, ...], seconds: float) -> Iterator[tuple[Stage, float]]:
    """Yield each stage with its seconds: its share of what is left when the one before it has ended."""
    end = time.monotonic() + seconds
    for index, stage in enumerate(stages):
        left = max(0.0, end - time.monotonic())
        yield stage, left * stage.weight / sum(each.weight for each in stages[index:])


def missing() -> list[str]:
    """Return the packages that the suite needs and this Python has not."""
    names = [package for module, package in NEEDED.items() if importlib.util.find_spec(module) is None]
    if not any(importlib.util.find_spec(module) for module in ("lightning_fabric", "lightning")):
        names.append("lightning-fabric")
    return names


def main(arguments: list[str] | None = None) -> int:
    """Run the stages; returns 70 if a check failed, else 0."""
    chosen = _arguments(arguments)
    if chosen.child is not None:
        _stage(chosen)
        return 0
    if packages := missing():
        install = f"python -m pip install --no-index --no-deps --find-links wheels {' '.join(packages)}"
        raise SystemExit(f"gpu_suite: error: {', '.join(packages)} not installed. Carry the wheels, and run {install}")
    out: Path = chosen.out
    if out.exists() and any(out.iterdir()):
        raise SystemExit(f"gpu_suite: error: {out} is not empty. Give another --out")
    out.mkdir(parents=True, exist_ok=True)
    stages = tuple(stage for stage in STAGES if chosen.only in (None, stage.name))
    found: dict[str, Any] = {
        "command": " ".join(["python -m benchmarks.gpu_suite", *(arguments or sys.argv[1:])]),
        "date": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "minutes": chosen.minutes,
        "device": chosen.device,
        "machine": None,
        "stages": {},
    }
    for stage, seconds in time_boxes(stages, chosen.minutes * 60):
        print(f"{stage.title} ({seconds:.0f} s)", flush=True)
        started = time.monotonic()
        end = _run_child(stage, seconds, chosen)
        rows = _rows(out / f"{stage.name}.jsonl")
        if end is not None:
            rows.append({"check": stage.title} | end)
        machine = out / "machine.json"
        found["machine"] = json.loads(machine.read_text(encoding="utf-8")) if machine.is_file() else None
        found["stages"][stage.name] = {
            "title": stage.title,
            "box_s": round(seconds, 1),
            "seconds": round(time.monotonic() - started, 1),
            "rows": rows,
        }
        _write(out / "suite.json", json.dumps(found, indent=2, ensure_ascii=False) + "\n")
        _write(out / "suite.md", markdown(found))
        for row in rows:
            print(f"  {_line(row)}", flush=True)
    states = [row["state"] for stage in found["stages"].values() for row in stage["rows"]]
    counts = ", ".join(f"{states.count(state)} {state}" for state in ("passed", "failed", "measured", "not run"))
    print(f"{counts}: {out / 'suite.md'}")
    return FAILED if "failed" in states else 0


def markdown(found: dict[str, Any]) -> str:
    """The results as a page: a table a stage, and last what only a CUDA device can show, if it was not here."""
    lines = ["# The GPU suite", "", f"    {found['command']}", "", f"{found['date']}, device {found['device']}."]
    facts = found["machine"] or {}
    shown = [f"{name} {facts[name]}" for name in ("gpu", "cpu", "cores", "driver", "cuda", "torch") if facts.get(name)]
    lines += ["", ", ".join(shown) + "." if shown else "The machine is not known: no stage came so far."]
    for stage in found["stages"].values():
        lines += ["", f"## {stage['title']}", "", f"{stage['seconds']:.0f} of {stage['box_s']:.0f} s.", ""]
        lines += ["| check | state | value | bound | remark |", "|---|---|---|---|---|"]
        for row in stage["rows"]:
            cells = (row["check"], row["state"], _figure(row), _number(row.get("bound")), row.get("note", ""))
            lines.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |")
    left_out = [
        row["check"]
        for stage in found["stages"].values()
        for row in stage["rows"]
        if row["state"] == "not run" and row["note"] == NO_CUDA
    ]
    if left_out:
        lines += ["", "## What only a CUDA device can show", "", *(f"- {name}" for name in left_out)]
    return "\n".join(lines) + "\n"


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=6.0, help="of the whole suite")
    parser.add_argument("--only", choices=[stage.name for stage in STAGES], help="one stage alone")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--out", type=Path, required=True, help="a new folder for the results")
    parser.add_argument(
        "--pool", type=Path, help="images for the pre-training (benchmarks.pool_copy makes a small copy)"
    )
    parser.add_argument("--teacher-file", type=Path, help="its teacher, where the extra `pretrain` is not installed")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if not chosen.minutes > 0:
        parser.error("--minutes must be above 0")
    return chosen


def _run_child(stage: Stage, seconds: float, chosen: argparse.Namespace) -> dict[str, str] | None:
    """Run a stage in a process of its own until its time is over.

    Returns None where it ended by itself, else the state and the reason of what is missing: `not run` for lack of time,
    `failed` for a process that failed.
    """
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "benchmarks.gpu_suite", "--child", stage.name, "--device", chosen.device]
    command += ["--seconds", f"{seconds * BEGUN_WITHIN:.1f}", "--out", str(chosen.out.resolve())]
    for option, path in (("--pool", chosen.pool), ("--teacher-file", chosen.teacher_file)):
        command += [] if path is None else [option, str(path.resolve())]
    errors = chosen.out / f"{stage.name}.log"
    environment = os.environ | {"PYTHONPATH": paths}
    # Its stdin is a pipe that nobody writes to: it ends when this process does, for whatever reason.
    with (
        errors.open("wb") as log,
        subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=log, stderr=log) as process,
    ):
        try:
            code = process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            return {"state": "not run", "note": f"ended after its {seconds:.0f} s, in the middle of a check"}
        except BaseException:
            process.kill()
            raise
    if code == 0:
        return None
    last = errors.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    reason = last[-1][:300] if last else "without a message"
    return {"state": "failed", "note": f"its process ended with {code}: {reason}"}


def _stage(chosen: argparse.Namespace) -> None:
    """Run one stage in this process, and write each row as it comes."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import torch

    from benchmarks.gpu.rows import Place, Row, run_checks
    from singleshot.benchmark import machine
    from singleshot.training.devices import resolve_precision

    place = Place(chosen.device, chosen.seconds, chosen.out, chosen.pool, chosen.teacher_file)
    if place.cuda and not torch.cuda.is_available():
        raise SystemExit("torch finds no CUDA device. Give --device cpu, or install a CUDA build of torch")
    facts = machine.facts(device=place.device, precision=resolve_precision("auto", place.device), data=place.out)
    _write(place.out / "machine.json", json.dumps(facts, indent=2) + "\n")
    checks = importlib.import_module(f"benchmarks.gpu.{chosen.child}").checks(place)
    with (place.out / f"{chosen.child}.jsonl").open("w", encoding="utf-8") as file:

        def emit(row: Row) -> None:
            file.write(json.dumps(asdict(row), ensure_ascii=False) + "\n")
            file.flush()

        run_checks(checks, place, emit)


def _end_with_parent() -> None:
    while os.read(0, 1):
        pass
    os._exit(1)


def _rows(path: Path) -> list[dict[str, Any]]:
    """The rows that a stage wrote; a last line that was cut is left out."""
    rows: list[dict[str, Any]] = []
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                rows.append(json.loads(line))
    return rows


def _line(row: dict[str, Any]) -> str:
    return f"{row['state']:<9} {row['check']}  {_figure(row)}  {row.get('note', '')}".rstrip()


def _figure(row: dict[str, Any]) -> str:
    return f"{_number(row.get('value'))} {row.get('unit', '')}".strip()


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"


def _write(path: Path, text: str) -> None:
    """Replace a file at once: a reader never sees half of it."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the process of the stage ends too
    sys.exit(main())
