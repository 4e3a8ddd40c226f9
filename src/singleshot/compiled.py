"""Compiled loops: numba for the few places where NumPy would need a Python loop over boxes.

`@compiled` is `numba.njit` with its machine code kept on disk, so that only the first process on a machine pays for
compilation. Kernels take and return plain arrays, carry no annotations of shapes (their callers do) and never see
an object.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import numba

Kernel = TypeVar("Kernel", bound=Callable[..., Any])


def compiled(function: Kernel) -> Kernel:
    """The function as machine code, compiled at its first call. Raises what numba raises on code it cannot type.

    A checker of annotations may have wrapped the function on import (our tests do that); numba cannot compile the
    wrapper, so it is taken off first.
    """
    plain = inspect.unwrap(function)
    return numba.njit(cache=True, nogil=True)(plain)  # pyright: ignore[reportReturnType]
