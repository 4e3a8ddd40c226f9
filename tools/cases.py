"""Run the scripts of reported faults in a folder: each makes its own input and exits with 0 where all is right.

`python -m tools.cases FOLDER [--demo RUN] [NAME …]` runs `*.sh` and `*.py`, or those named, one after the other, and
prints a line each; the output of a script that fails follows its line. Exit code 1 if one fails.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

TIMEOUT_S = 900
EXPLANATIONS = {"train_no_guard": "Put your script's calls under `if __name__ == "}
"""By script that is meant to end with an error: how that error must end. It prints no verdict of its own."""


def run(script: Path, demo: Path) -> tuple[bool, str]:
    """Run a script with this environment's Python and command. Returns whether it passes, and its output."""
    commands = Path(sys.executable).parent
    demo = demo.resolve()
    environment = os.environ | {
        "SINGLESHOT": os.environ.get("SINGLESHOT", str(commands / "singleshot")),
        "PYTHON": sys.executable,
        "DEMO": str(demo),
        "WEIGHTS": str(demo / "train" / "best.safetensors"),
        "PATH": f"{commands}{os.pathsep}{os.environ.get('PATH', '')}",
    }
    program = ["bash"] if script.suffix == ".sh" else [sys.executable]
    try:
        done = subprocess.run(
            [*program, str(script.resolve())],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False, f"no end after {TIMEOUT_S} s"
    output = done.stdout + done.stderr
    explanation = EXPLANATIONS.get(script.stem)
    if explanation is not None:
        return done.returncode != 0 and explanation in output.rstrip().rpartition("\n")[2], output
    return done.returncode == 0 and "FAIL" not in output, output


def main() -> int:
    """Run the scripts that the command line names; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", help="scripts without their suffix; all if none")
    parser.add_argument("--demo", type=Path, default=Path("runs/demo"), help="the folder of `singleshot demo`")
    options = parser.parse_args()
    scripts = sorted(path for path in options.folder.iterdir() if path.suffix in (".sh", ".py"))
    chosen = [path for path in scripts if not options.names or path.stem in options.names]
    failed = 0
    for script in chosen:
        passed, output = run(script, options.demo)
        failed += not passed
        print(f"{'pass' if passed else 'FAIL'}  {script.name}", flush=True)
        if not passed:
            print(output, flush=True)
    print(f"{len(chosen) - failed} of {len(chosen)} pass")
    return 1 if failed or not chosen else 0


if __name__ == "__main__":
    sys.exit(main())
