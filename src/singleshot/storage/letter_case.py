"""Names of files where case does not count: macOS and Windows find `A.JPG` for `a.jpg`, a listing does not.

Files are looked up in listings of folders, not by asking for one path after the other, so what these systems would
find has to be found here too. And two outputs whose names differ in case alone are one file there.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

Value = TypeVar("Value")


class AnyCase(dict[str, Value]):
    """A dictionary of files by name, found in any case; a name in its own case comes first.

    >>> names = AnyCase({"A": 1, "a": 2, "b.JPG": 3})
    >>> names["a"], names["B.jpg"], names.get("c"), "B.JPG" in names
    (2, 3, None, True)
    """

    def __init__(self, items: Mapping[str, Value]) -> None:
        super().__init__(items)
        self._own = {name.casefold(): name for name in reversed(list(items))}

    def __missing__(self, name: str) -> Value:
        own = self._own.get(name.casefold())
        if own is None:
            raise KeyError(name)
        return self[own]

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or (isinstance(name, str) and name.casefold() in self._own)

    def get(self, name: str, default: Value | None = None) -> Value | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return what a name stands for, in any case."""
        try:
            return self[name]
        except KeyError:
            return default


def as_found(names: dict[str, Value], folder: Path) -> dict[str, Value]:
    """Return a folder's files by name so that a name is found as the folder's file system finds it."""
    return AnyCase(names) if ignores_case(folder) else names


@functools.cache
def ignores_case(folder: Path) -> bool:
    """Return whether the file system of a folder finds its own name in another case; False for a name without case."""
    path = folder.absolute()
    for part in (path, *path.parents):
        other = part.with_name(part.name.swapcase()) if part.name else part
        if other != part or other.name != part.name:
            try:
                return other.samefile(part)
            except OSError:
                return False
    return False
