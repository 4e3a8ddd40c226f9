"""The child's side of `image_reader`: reads what it is told to, until nobody tells it anything more.

A file of its own, which needs neither PyTorch nor anything that does: the child is ready before the network is.
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
        pipe: gives a path at a time; gets (None, shape) and then the pixels, or an error's class and arguments.
        read: what reads a file.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which then ends us
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
    except (EOFError, OSError):  # the parent is gone or wants no more
        return
