"""Compiled loops: numba for the few places where NumPy would need a Python loop over boxes.

`@compiled` is `numba.njit` with its machine code cached on disk, so that only the first process on a machine compiles.
Kernels take and return plain arrays, have no shape annotations (their callers do) and handle no objects.

numba compiles again when a kernel's own file changes, but not when another file changes whose kernels or constants it
uses. The folder of a kernel's machine code is therefore named by a hash of everything that goes into it.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import logging
import os
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any, TypeVar

import numpy as np

from singleshot.errors import ConfigError
from singleshot.storage import cache

log = logging.getLogger(__name__)
Kernel = TypeVar("Kernel", bound=Callable[..., Any])
_LOCK = threading.RLock()


def compiled(function: Kernel) -> Kernel:
    """Compile a function to machine code at its first call. Raises then what numba raises on code it cannot type.

    The machine code is cached in NUMBA_CACHE_DIR, else beside the source, else in the cache folder
    (`storage.cache.cache_folder`). Where none of them is writable, every process compiles for itself, and one warning
    says so.

    A checker of annotations may have wrapped the function on import, as our tests do; numba cannot compile the
    wrapper, so it is removed first.
    """
    return _Kernel(inspect.unwrap(function))  # pyright: ignore[reportReturnType]


class _Kernel:
    """A function that is compiled when it is first called.

    Not before, because importing numba takes a fifth of a second, and the first prediction of a light detector, most
    commands and `--help` call no kernel.

    Args:
        function: what to compile. It stays callable as `py_func`, uncompiled.
    """

    def __init__(self, function: FunctionType) -> None:
        functools.update_wrapper(self, function)
        self.py_func = function

    def __call__(self, *arguments: Any) -> Any:
        return self.dispatcher(*arguments)

    @property
    def is_loaded(self) -> bool:
        """Whether this process has called it, so that the next call costs nothing more."""
        return "dispatcher" in self.__dict__

    @functools.cached_property
    def dispatcher(self) -> Any:
        """Numba's function, which compiles for each combination of argument types or finds it in the cache."""
        import numba
        from numba.core import config

        with _LOCK:  # one setting of numba's is changed for a moment
            plain = _with_compiled_callees(self.py_func)
            folder = cache_folder(Path(plain.__code__.co_filename).parent)
            if folder is None:
                return numba.njit(nogil=True)(plain)
            # numba reads this setting only while it decorates; kernels of other packages keep their folder.
            before = config.CACHE_DIR  # pyright: ignore[reportAttributeAccessIssue]
            config.CACHE_DIR = str(folder / f"kernels-{_hash_of(self.py_func)[:16]}")  # pyright: ignore[reportAttributeAccessIssue]
            try:
                return numba.njit(cache=True, nogil=True)(plain)
            finally:
                config.CACHE_DIR = before  # pyright: ignore[reportAttributeAccessIssue]


def _with_compiled_callees(function: FunctionType) -> FunctionType:
    """Return the function with numba's functions in place of the kernels that it calls, since numba knows no other."""
    values = {name: function.__globals__.get(name) for name in function.__code__.co_names}
    callees = {name: value.dispatcher for name, value in values.items() if isinstance(value, _Kernel)}
    if not callees:
        return function
    names = {**function.__globals__, **callees}
    return FunctionType(function.__code__, names, function.__name__, function.__defaults__, function.__closure__)


@functools.cache
def cache_folder(source: Path) -> Path | None:
    """Return the first writable folder for machine code: NUMBA_CACHE_DIR, the source's, the cache folder.

    Args:
        source: the folder of the kernel's file.

    Returns None, with a warning, where there is none. Warns too where the user's choice is not writable.
    """
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    candidates = [Path(chosen)] if chosen else []
    candidates.append(source / "__pycache__")
    with contextlib.suppress(ConfigError):  # a user without a home
        candidates.append(cache.cache_folder())
    folder = next((candidate for candidate in candidates if _writable(candidate)), None)
    if folder is None:
        _warn("no folder for compiled code is writable, so every process compiles again, which takes a while")
    elif chosen and folder != candidates[0]:
        _warn(f"{chosen} is not writable, so compiled code is cached in {folder}")
    return folder


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


@functools.cache
def _warn(message: str) -> None:
    """Warn, once for all kernels."""
    log.warning("%s. Set NUMBA_CACHE_DIR to a writable folder.", message)


def _hash_of(function: FunctionType) -> str:
    """A hash of a function's code, of the kernels it calls and of the constants it uses, in whichever file."""
    code = function.__code__
    digest = hashlib.sha256(code.co_code + repr((code.co_consts, code.co_names)).encode())
    for name in code.co_names:
        value = function.__globals__.get(name)
        inner = getattr(value, "py_func", None)
        if isinstance(inner, FunctionType):
            digest.update(_hash_of(inner).encode())
        elif isinstance(value, bool | int | float | str | np.generic | tuple):
            digest.update(f"{name}={value!r}".encode())
    return digest.hexdigest()
