from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from singleshot.errors import StoppedError
from singleshot.training.devices import computes_in_bf16, memory_errors, open_fabric, resolve_precision


def test_a_given_precision_is_taken_and_auto_follows_the_processor() -> None:
    assert resolve_precision("fp32") == "fp32"
    assert resolve_precision("bf16") == "bf16"
    assert resolve_precision("auto", "cpu") == ("bf16" if computes_in_bf16() else "fp32")


@pytest.mark.parametrize(("precision", "inside"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_the_network_computes_in_the_precision_and_answers_in_float32(precision: str, inside: torch.dtype) -> None:
    fabric = open_fabric(precision=precision, device="cpu")  # pyright: ignore[reportArgumentType]
    seen: list[torch.dtype] = []
    layer = torch.nn.Linear(2, 2)
    layer.register_forward_hook(lambda _module, _input, output: seen.append(output.dtype))
    module = fabric.setup(layer)
    assert module(torch.ones(1, 2)).dtype == torch.float32
    assert seen == [inside]


def test_without_the_facts_about_the_processor_it_is_not_taken_for_a_bf16_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "exists", lambda _path: False)
    assert not computes_in_bf16()


MAIN = """
import subprocess, sys, time
from singleshot.training import devices
started = [subprocess.Popen([sys.executable, "-c", code]) for code in sys.argv[2:]]
print(*(process.pid for process in started), flush=True)
devices.watch_processes(started, grace_s=1.0)
{work}
"""
SLEEPS, FAILS, ENDS = "import time; time.sleep(60)", "raise SystemExit(3)", ""


def main(work: str, *children: str) -> tuple[subprocess.CompletedProcess[str], float]:
    started = time.monotonic()
    code = MAIN.format(work=textwrap.dedent(work))
    done = subprocess.run(
        [sys.executable, "-c", code, "", *children], capture_output=True, text=True, timeout=60, check=False
    )
    assert not [pid for pid in done.stdout.split() if running(int(pid))]
    return done, time.monotonic() - started


def running(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def test_i1_a_failed_child_is_named_and_ends_all_where_no_one_else_has() -> None:
    done, seconds = main("time.sleep(60)", SLEEPS, FAILS)
    assert done.returncode == 75 and seconds < 30
    assert "rank 2 ended with exit code 3" in done.stderr and "--resume" in done.stderr


def test_i1_who_ends_in_time_is_reported_itself() -> None:
    done, _ = main("time.sleep(0.8); raise SystemExit('mine')", FAILS)
    assert done.returncode == 1 and done.stderr == "mine\n"


def test_no_child_outlives_the_process_that_started_it() -> None:
    done, seconds = main("", SLEEPS, "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)")
    assert done.returncode == 0 and seconds < 30


def test_children_that_end_well_are_left_alone() -> None:
    done, _ = main("time.sleep(1.5)", ENDS, ENDS)
    assert done.returncode == 0 and done.stderr == "" and os.environ.get("LOCAL_RANK") is None


@pytest.mark.parametrize("take", [lambda: torch.empty(1 << 58), lambda: np.empty(1 << 58)])
def test_f15_memory_that_is_not_there_is_75_with_what_to_lower(take: object) -> None:
    with pytest.raises(StoppedError, match=r"out of memory .* Set accumulate=2") as raised, memory_errors():
        take()  # pyright: ignore[reportCallIssue]
    assert raised.value.exit_code == 75


def test_f16_a_devices_memory_is_named_as_such() -> None:
    with pytest.raises(StoppedError, match="out of device memory"), memory_errors():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="shapes"), memory_errors():
        raise RuntimeError("shapes do not match")


@pytest.mark.parametrize(("native", "expected"), [(True, "bf16"), (False, "fp32")])
def test_auto_takes_bf16_on_a_gpu_only_where_it_is_not_emulated(
    monkeypatch: pytest.MonkeyPatch, native: bool, expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or native)
    assert resolve_precision("auto") == expected
