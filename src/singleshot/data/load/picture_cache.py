"""Decoded pictures, kept until the room is used up.

Nothing is thrown out: an epoch visits each picture once, so the one to go would be wanted as soon as the new one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from numpy import ndarray

from singleshot.errors import ConfigError

Arrays = TypeVar("Arrays", bound=tuple[ndarray, ...])


class PictureCache(Generic[Arrays]):
    """Keeps what was read for a picture: its pixels, or its pixels and its mask.

    Args:
        room: bytes; 0 keeps nothing.

    Raises ConfigError for less than 0.
    """

    def __init__(self, room: int) -> None:
        if room < 0:
            raise ConfigError(f"a cache of {room} bytes", remedy="Give 0 or more")
        self._room = room
        self._kept: dict[int, Arrays] = {}

    def get(self, index: int, read: Callable[[int], Arrays]) -> Arrays:
        """What is kept for that picture, or what `read` gives, which is then kept if it fits."""
        if index in self._kept:
            return self._kept[index]
        arrays = read(index)
        size = sum(array.nbytes for array in arrays)
        if size <= self._room:
            self._room -= size
            self._kept[index] = arrays
        return arrays
