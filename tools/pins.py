"""Write constraints.txt: the exact version of everything that the project and its tests need.

`python -m tools.pins FILE` takes the versions from the environment that it runs in; `make pins` makes one for it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tools.closure import closure

HEADER = """\
# The exact versions that CI tests with: what `pip install singleshot[dev]` leads to, transitively, and no more.
# pip takes them as constraints (`pip install -c constraints.txt .`): they install nothing by themselves.
#
# To raise them: change the line of torch below by hand if it is torch's turn, then `make pins`, which installs the
# newest that pyproject.toml allows into an environment of its own and writes this file; then `make test check`.
#
# torch has no local part (+cpu, +cu130), so that one pin fits every build of it. What a CUDA build of torch brings
# along (nvidia-*, cuda-*, triton) is left out: torch pins those itself, and a CPU-only environment has none.
"""
PINNED_BY_TORCH = ("nvidia-", "cuda-", "triton")


def pins() -> list[str]:
    """`name==version` of each distribution in the closure of the project and its `dev` extra, sorted by name."""
    return [
        f"{name}=={distribution.version.partition('+')[0]}"
        for name, distribution in closure(frozenset({"dev"})).items()
        if not name.startswith(PINNED_BY_TORCH)
    ]


def main(path: Path) -> None:
    """Write the file."""
    path.write_text(HEADER + "\n" + "\n".join(pins()) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
