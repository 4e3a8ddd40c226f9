"""Compiled loops: numba for the few places where NumPy would need a Python loop over boxes.

`@compiled` is `numba.njit` with its machine code kept on disk, so that only the first process on a machine pays for
compilation. Kernels take and return plain arrays, carry no annotations of shapes (their callers do) and never see
an object.

numba compiles anew when a kernel's own file changes, but not when another file does whose kernels or constants went
into it. The folder of a kernel's machine code is therefore named after what it is made of.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import logging
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any, TypeVar

import numba
import numpy as np
from numba.core import config

log = logging.getLogger(__name__)
Kernel = TypeVar("Kernel", bound=Callable[..., Any])


def compiled(function: Kernel) -> Kernel:
    """The function as machine code, compiled at its first call. Raises what numba raises on code it cannot type.

    The machine code is kept in NUMBA_CACHE_DIR, or else beside the source, or else in the user's cache folder. Where
    none of them can be written, every process compiles for itself, and one warning says so.

    A checker of annotations may have wrapped the function on import (our tests do that); numba cannot compile the
    wrapper, so it is taken off first.
    """
    plain = inspect.unwrap(function)
    folder = cache_folder(Path(plain.__code__.co_filename).parent)
    if folder is None:
        return numba.njit(nogil=True)(plain)  # pyright: ignore[reportReturnType]
    # numba looks at this setting while it decorates, and only then; other people's kernels keep their folder.
    before = config.CACHE_DIR  # pyright: ignore[reportAttributeAccessIssue]
    config.CACHE_DIR = str(folder / f"kernels-{_made_of(plain)[:16]}")  # pyright: ignore[reportAttributeAccessIssue]
    try:
        return numba.njit(cache=True, nogil=True)(plain)  # pyright: ignore[reportReturnType]
    finally:
        config.CACHE_DIR = before  # pyright: ignore[reportAttributeAccessIssue]


@functools.cache
def cache_folder(source: Path) -> Path | None:
    """The first folder for machine code that can be written: the user's choice, the source's, the user's cache.

    Args:
        source: the folder of the kernel's file.

    Returns None, with a warning, where there is no such folder; a warning too where the user's choice is not it.
    """
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    base = os.environ.get("XDG_CACHE_HOME") or (
        os.environ.get("LOCALAPPDATA", "~") if sys.platform == "win32" else "~/.cache"
    )
    candidates = [source / "__pycache__", Path(base).expanduser() / "singleshot"]
    if chosen:
        candidates.insert(0, Path(chosen))
    folder = next((candidate for candidate in candidates if _writable(candidate)), None)
    if folder is None:
        _say("no folder for compiled code can be written, so every process compiles anew, which takes a while")
    elif chosen and folder != candidates[0]:
        _say(f"{chosen} cannot be written, so compiled code is kept in {folder}")
    return folder


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except (OSError, RuntimeError):  # RuntimeError: nobody knows the user's home
        return False


@functools.cache
def _say(what: str) -> None:
    """Warn, once for all kernels."""
    log.warning("%s. Set NUMBA_CACHE_DIR to a folder that can be written.", what)


def _made_of(function: FunctionType) -> str:
    """A digest of a function's code, of the kernels it calls and of the constants it uses, wherever they stand."""
    code = function.__code__
    digest = hashlib.sha256(code.co_code + repr((code.co_consts, code.co_names)).encode())
    for name in code.co_names:
        value = function.__globals__.get(name)
        inner = getattr(value, "py_func", None)
        if isinstance(inner, FunctionType):
            digest.update(_made_of(inner).encode())
        elif isinstance(value, bool | int | float | str | np.generic | tuple):
            digest.update(f"{name}={value!r}".encode())
    return digest.hexdigest()
