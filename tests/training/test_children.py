from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

MAIN = """
import subprocess, sys, time
from singleshot.training import children
started = [subprocess.Popen([sys.executable, "-c", code]) for code in sys.argv[2:]]
print(*(process.pid for process in started), flush=True)
children.watch(started, grace_s=1.0)
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


def test_i1_a_failed_child_is_named_and_ends_all_where_nobody_else_has() -> None:
    done, seconds = main("time.sleep(60)", SLEEPS, FAILS)
    assert done.returncode == 75 and seconds < 30
    assert "rank 2 ended with exit code 3" in done.stderr and "--resume" in done.stderr


def test_i1_who_ends_in_time_says_so_itself() -> None:
    done, _ = main("time.sleep(0.8); raise SystemExit('mine')", FAILS)
    assert done.returncode == 1 and done.stderr == "mine\n"


def test_no_child_outlives_the_process_that_started_it() -> None:
    done, seconds = main("", SLEEPS, "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)")
    assert done.returncode == 0 and seconds < 30


def test_children_that_end_well_are_left_alone() -> None:
    done, _ = main("time.sleep(1.5)", ENDS, ENDS)
    assert done.returncode == 0 and done.stderr == "" and os.environ.get("LOCAL_RANK") is None
