"""Write requirements.lock: every package of the core, with its version and the hash of the very file that was tested.

A version is a name that whoever holds the account can move to another file; a hash is the file. Two of this project's
neighbours were replaced by malware under honest names, so an installation that must be sure goes by hashes:

    pip install --require-hashes -r requirements.lock && pip install --no-deps singleshot

`python -m tools.lock FILE` takes the versions from the environment that it runs in and asks pip for the files, which
it looks up and does not install. The lock holds for one platform: Linux on x86-64, Python 3.11, torch for the CPU.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tools.closure import closure

HEADER = """\
# The core of singleshot for Linux on x86-64, Python 3.11, torch for the CPU: versions and hashes. Written by
# `python -m tools.lock requirements.lock` in the tested environment; install with
#   pip install --require-hashes --extra-index-url https://download.pytorch.org/whl/cpu -r requirements.lock
# A file that was replaced does not install.
"""


def main(path: Path) -> None:
    """Write the file."""
    wanted = [f"{name}=={distribution.version}" for name, distribution in closure().items()]
    path.write_text(HEADER + "\n" + "\n".join(locked(ask_pip(wanted))) + "\n", encoding="utf-8")


def ask_pip(requirements: Iterable[str], options: Sequence[str] = ()) -> Mapping[str, Any]:
    """What pip would install for exact requirements, as it reports it. Raises CalledProcessError where it cannot."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-deps", "--quiet"]
        command += ["--only-binary", ":all:", "--report", str(report), *options, *requirements]
        subprocess.run(command, check=True)
        return json.loads(report.read_text(encoding="utf-8"))


def locked(report: Mapping[str, Any]) -> list[str]:
    """A line a package, by name. Raises ValueError for a package without a hash: a lock with a gap is none."""
    lines = []
    for package in report["install"]:
        name, version = package["metadata"]["name"], package["metadata"]["version"]
        digest = package["download_info"].get("archive_info", {}).get("hashes", {}).get("sha256")
        if not digest:
            raise ValueError(f"{name} {version} comes without a SHA-256")
        lines.append(f"{name.lower()}=={version} --hash=sha256:{digest}")
    return sorted(lines)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
