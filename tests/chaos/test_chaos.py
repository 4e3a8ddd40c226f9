"""The short form of every chaos script. Long forms: docs/chaos.md."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos import damage, failing_calls

ROOT = Path(__file__).parents[2]


def script(name: str) -> str:
    """What a script prints in its short form. It forks before it computes a gradient, so not this process but one of
    its own must do it."""
    command = [sys.executable, "-m", f"tests.chaos.{name}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_f1_kill_9_corrupts_nothing_and_loses_no_acknowledged_save() -> None:
    said = script("kills")
    assert said.count("0 corrupt, 0 lost") == 2 and "saving: 2 kills" in said and "training: 2 kills" in said


@pytest.mark.slow
def test_f24_a_run_killed_anywhere_and_resumed_has_the_same_bits() -> None:
    assert re.search(r"one process: 1 kill points .* all resumed to [0-9a-f]{16}", script("kill_points"))


@pytest.mark.slow
def test_e1_e2_every_cut_and_every_flipped_bit_is_noticed() -> None:
    seen = damage.main(percent=10, count=20)
    assert len(seen) == 6 and all(tried and not unnoticed for tried, unnoticed in seen.values())


@pytest.mark.slow
def test_f2_f7_f8_a_system_call_that_fails_leaves_the_old_or_the_new() -> None:
    if not failing_calls.strace_works():
        pytest.skip("needs strace, and leave to attach it to a process")
    for ends in failing_calls.main(every=29):
        assert ends["saved, new"] and sum(ends.values()) > 4


def test_every_script_is_on_the_page_with_its_long_form() -> None:
    page = (ROOT / "docs/chaos.md").read_text(encoding="utf-8")
    names = [path.stem for path in Path(__file__).parent.glob("*.py") if "--long" in path.read_text(encoding="utf-8")]
    names = [name for name in names if name != "test_chaos"]
    assert len(names) == 4 and [name for name in names if f"tests.chaos.{name} --long" not in page] == []
