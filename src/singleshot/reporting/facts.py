"""The machine and the versions that figures come from: without them a speed is a rumour."""

from __future__ import annotations

import platform

import cv2
import numpy as np
import torch

import singleshot
from singleshot.prediction.backends.host import memory_bytes, processor
from singleshot.prediction.backends.threads import cores


def machine() -> list[tuple[str, str]]:
    """Names and values, for a table: processor, memory, GPU, system, versions. What is not to be known is left out."""
    memory = memory_bytes()
    known = [
        ("processor", processor()),
        ("cores for this process", str(cores())),
        ("threads of torch", str(torch.get_num_threads())),
        ("memory", "" if memory is None else f"{memory / 2**30:.0f} GiB"),
        ("GPU", torch.cuda.get_device_name() if torch.cuda.is_available() else "none"),
        ("system", f"{platform.system()} {platform.release()}"),
        ("singleshot", singleshot.__version__),
        ("Python", platform.python_version()),
        ("torch", torch.__version__),
        ("NumPy", np.__version__),
        ("OpenCV", cv2.__version__),
    ]
    return [(name, value) for name, value in known if value]
