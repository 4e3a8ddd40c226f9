"""Out of memory, said as what it is: the run stopped, can go on, and wants a smaller bite.

torch reports it as a RuntimeError of the processor's allocator or as its own error of a device, NumPy and Python as a
MemoryError, OpenCV as an error of its own. Trying again with the same batch would only fail again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import torch

from singleshot.errors import StoppedError

SIGNS = ("can't allocate memory", "out of memory", "insufficient memory", "cannot allocate memory")


@contextmanager
def shortage_named() -> Iterator[None]:
    """While inside, running out of memory is a StoppedError that says what to lower; other errors pass."""
    try:
        yield
    except (MemoryError, RuntimeError, OSError, cv2.error) as error:
        if not is_shortage(error):
            raise
        on_device = isinstance(error, torch.OutOfMemoryError)
        what = f"out of {'device ' if on_device else ''}memory ({' '.join(str(error).split())[:120]})"
        remedy = "Set accumulate=2, or lower --batch-size or --workers, and go on with --resume --force"
        raise StoppedError(what, remedy=remedy) from error


def is_shortage(error: BaseException) -> bool:
    """Whether an error means that memory ran out.

    >>> is_shortage(MemoryError()), is_shortage(RuntimeError("shapes do not match"))
    (True, False)
    """
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError | OSError | cv2.error) and any(sign in str(error).lower() for sign in SIGNS)
