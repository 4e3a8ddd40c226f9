"""A decoder for children that some files crash and some hang; it imports little, as the child does."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np

from singleshot.images import read_image


def dangerous(path: Path) -> np.ndarray:
    """A decoder that some files crash and some hang."""
    if "crash" in path.name:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "hang" in path.name:
        time.sleep(600)
    return read_image(path)
