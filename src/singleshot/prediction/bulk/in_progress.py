"""Which picture a worker died of: written down before the picture is touched, and believed for one run only.

A worker that was killed cannot tell what it was at. So it says beforehand, and whoever takes up its shard reads it.
But a person's Ctrl-C kills workers too, and no picture is to blame for that: each start of the program has a token of
its own, and what another one left behind says nothing.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Iterator
from pathlib import Path

from singleshot.storage import atomic
from singleshot.storage.lock import FolderLock

MAX_CRASHES = 2
"""Crashes of a worker after which the image that caused them is skipped."""


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Around the work in a job's folder: nobody else works there, and deaths are counted anew.

    Raises CannotCreateError where another run is at work in it.
    """
    lock = FolderLock(folder, "run")
    try:
        atomic.write_text(folder / "run", secrets.token_hex(8))
        yield
    finally:
        (folder / "run").unlink(missing_ok=True)
        lock.release()


class InProgressMarker:
    """The picture in hand, written down before it is touched, so that the next try knows what ended this one.

    What another start of the program wrote says nothing: that start may have been stopped by a person.

    Args:
        folder: the job's.
        number: the shard's.
    """

    def __init__(self, folder: Path, number: int) -> None:
        self._file, self._run = _file(folder, number), ""
        with contextlib.suppress(OSError):
            self._run = (folder / "run").read_text(encoding="utf-8")
        self._deaths: dict[str, int] = {}
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            said = json.loads(self._file.read_text(encoding="utf-8"))
            if said.get("run", "") != self._run:
                return
            self._deaths = {str(place): int(count) for place, count in said["deaths"].items()}
            last = str(said["hand"])
            self._deaths[last] = self._deaths.get(last, 0) + 1

    def __enter__(self) -> InProgressMarker:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.unlink(missing_ok=True)  # an exception is no death: it is told, and nobody is to blame

    def crashed_too_often(self, place: int) -> bool:
        """Whether this picture has ended too many workers."""
        return self._deaths.get(str(place), 0) >= MAX_CRASHES

    def take(self, place: int) -> None:
        """Write down that this picture is in hand."""
        # Not forced to the disk: a process's death loses nothing that was written.
        beside = self._file.with_suffix(".next")
        said = {"run": self._run, "hand": place, "deaths": self._deaths}
        beside.write_text(json.dumps(said), encoding="utf-8")
        beside.replace(self._file)


def note(folder: Path, number: int) -> str:
    """What is written down of a shard at work; empty where nothing is. A worker that does anything changes it."""
    try:
        return _file(folder, number).read_text(encoding="utf-8")
    except OSError:
        return ""


def _file(folder: Path, number: int) -> Path:
    return folder / "shards" / f"{number:05d}.hand"
