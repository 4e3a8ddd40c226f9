"""What must not be in the environment, whoever pulled it in.

A dependency of a dependency can bring torchvision (whose wheels do not import beside CPU-only torch), a second
OpenCV (two wheels fight over one `cv2`), a poisoned release, or gigabytes of CUDA next to a torch that has no use
for them. Nobody notices until a user does, so `make check` looks.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import metadata

from tools.closure import normalised

FORBIDDEN = {
    "torchvision": "its wheels do not import beside CPU-only torch; OpenCV does the pixels",
    "torchaudio": "nothing here needs sound",
    "ultralytics": "its licence is the AGPL",
    "opencv-python": "it and opencv-python-headless overwrite each other",
    "opencv-contrib-python": "it and opencv-python-headless overwrite each other",
    "opencv-contrib-python-headless": "it and opencv-python-headless overwrite each other",
}
POISONED = {("lightning", "2.6.2"), ("lightning", "2.6.3")}
CUDA = ("nvidia-", "cuda-", "triton")


def complaints(versions: Mapping[str, str], *, torch_wants_cuda: bool) -> list[str]:
    """One line for each distribution that must not be there; none for a clean environment.

    Args:
        versions: what is installed, version by normalised name.
        torch_wants_cuda: whether the installed torch is a build that requires CUDA's packages.
    """
    found = [f"{name}: {FORBIDDEN[name]}" for name in sorted(versions) if name in FORBIDDEN]
    found += [f"{name} {version}: this release was malware" for name, version in POISONED & set(versions.items())]
    if not torch_wants_cuda:
        found += [f"{name}: torch here is a CPU build" for name in sorted(versions) if name.startswith(CUDA)]
    return found


def main() -> int:
    """Complain on stderr; 1 where there is something to complain about."""
    versions = {normalised(each.name): each.version for each in metadata.distributions()}
    wants_cuda = any(normalised(line).startswith(CUDA) for line in metadata.requires("torch") or ())
    found = complaints(versions, torch_wants_cuda=wants_cuda)
    for line in found:
        print(f"must not be installed: {line}", file=sys.stderr)
    if not found:
        print(f"{len(versions)} distributions, none that must not be installed")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
