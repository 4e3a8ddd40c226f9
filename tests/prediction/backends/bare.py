"""A Python in which singleshot cannot be imported, for what has to run without it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

FORBIDDEN = """
import sys
class No:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "singleshot":
            raise ImportError("singleshot is not to be had here")
sys.meta_path.insert(0, No())
"""


def bare(code: str) -> str:
    """What a program prints in such a Python; its errors fail the test."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [sys.executable, "-I", "-c", FORBIDDEN + code],
        capture_output=True,
        text=True,
        cwd=Path(sys.prefix),
        env=plain | {"OMP_NUM_THREADS": "1"},
        check=False,
    )
    if done.returncode:
        raise AssertionError(done.stderr)
    return done.stdout
