from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

MemoryLimit = Callable[[int], AbstractContextManager[None]]


@pytest.fixture
def memory_limit() -> MemoryLimit:
    """Inside, this process may map only so many bytes more than before."""

    @contextmanager
    def limited(extra_bytes: int) -> Iterator[None]:
        limits = resource.getrlimit(resource.RLIMIT_AS)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + extra_bytes, limits[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_AS, limits)

    return limited
