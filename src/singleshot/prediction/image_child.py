"""The child process of `image_reader`: reads the requested files until the pipe is closed.

It is a module of its own, which imports neither PyTorch nor anything that does, so that the child starts fast.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from singleshot.decoder_process import READY
from singleshot.errors import DataError, SingleshotError


def serve(pipe: Any, read: Callable[[Path], ndarray]) -> None:
    """Answer paths with pixels until the pipe is closed.

    Args:
        pipe: receives one path at a time; gets (None, shape) and then the pixels, or an error's class and arguments.
        read: reads a file.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C, and ends this process
    try:
        pipe.send(READY)
        while True:
            file = pipe.recv()
            try:
                image = np.ascontiguousarray(read(file))
            except SingleshotError as error:
                # What the error is made of: exceptions with named arguments do not pickle by themselves.
                fields = {name: getattr(error, name) for name in ("message", "remedy", "file", "line")}
                pipe.send((type(error), fields | ({"kind": error.kind} if isinstance(error, DataError) else {})))
                continue
            pipe.send((None, image.shape))
            pipe.send_bytes(image.reshape(-1).data)
    except (EOFError, OSError):  # the parent has ended or closed the pipe
        return
