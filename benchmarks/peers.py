"""A peer in its own interpreter: started once, asked round by round, so that it is measured beside us.

Peers never enter the project's environment (torchvision's wheels would not even load beside CPU-only torch). They
live in one of their own, named by `--peers` or the variable SINGLESHOT_PEERS; benchmarks/README.md makes it. A peer
script there reads one JSON request a line and answers with one line; arrays travel as .npy files.

Our side                                     the peer's script, which imports nothing of ours but this file
    with Peer("benchmarks/peer_nms.py") as peer:        def work(request): ... return {"seconds": ...}
        peer.ask(do="nms", file="scores.npy")           serve(work)
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).parents[1]
VARIABLE = "SINGLESHOT_PEERS"


class Peer:
    """A script that answers requests under the peer environment's Python. Ends with the `with` block.

    Raises:
        SystemExit: there is no such environment, or the peer ended; its own words stand on stderr.
    """

    def __init__(self, script: str, *arguments: str, environment: Path) -> None:
        python = environment / ("Scripts" if os.name == "nt" else "bin") / "python"
        if not python.exists():
            sys.exit(f"no peer environment at {environment}: benchmarks/README.md says how to make one")
        one_thread = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        alone = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        self._script = script
        self._process = subprocess.Popen(
            [python, "-u", ROOT / script, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=alone | one_thread | {"PYTHONPATH": str(ROOT), "NO_ALBUMENTATIONS_UPDATE": "1"},
        )

    def ask(self, **request: Any) -> dict[str, Any]:
        """The answer to one request."""
        ask, answer = self._process.stdin, self._process.stdout
        if ask is None or answer is None:
            raise RuntimeError("the peer was started without pipes")
        try:
            print(json.dumps(request), file=ask, flush=True)
            line = answer.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            sys.exit(f"{self._script} ended with code {self._process.wait()}")
        return json.loads(line)

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(10.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


def serve(work: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """The peer's side: answer requests until there are no more. What libraries print goes to stderr."""
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        print(json.dumps(work(json.loads(line))), file=answers, flush=True)


def peer_argument(parser: argparse.ArgumentParser) -> None:
    """Give a script the option `--peers`."""
    default = os.environ.get(VARIABLE)
    said = "the peers' virtual environment (benchmarks/README.md); without it only our own side is measured"
    parser.add_argument("--peers", type=Path, default=Path(default) if default else None, metavar="DIR", help=said)
