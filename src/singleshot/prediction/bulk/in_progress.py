"""Record which image a worker processes, so that an image that crashes workers is found and skipped.

A worker that crashed cannot report its image. So it writes a marker before it processes each image, and the next worker
of the shard reads it. Ctrl-C ends workers too, for which no image is to blame: each start of the program has a token of
its own, and markers with another token are ignored.
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
    """Lock a job's folder for one run, and start counting crashes from 0.

    Raises CannotCreateError if another run is using the folder.
    """
    lock = FolderLock(folder, "run")
    try:
        atomic.write_text(folder / "run", secrets.token_hex(8))
        yield
    finally:
        (folder / "run").unlink(missing_ok=True)
        lock.release()


class InProgressMarker:
    """The marker of a shard: the image at work, and how often each image has crashed its worker.

    A marker of another start of the program is ignored: the user may have stopped that one.

    Args:
        folder: of the job.
        number: of the shard.
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
        self._file.unlink(missing_ok=True)  # an exception is reported, and is no crash

    def crashed_too_often(self, place: int) -> bool:
        """Return whether the image of that index has crashed too many workers."""
        return self._deaths.get(str(place), 0) >= MAX_CRASHES

    def take(self, place: int) -> None:
        """Record that the image of that index is at work."""
        # Not flushed to the disk: the crash of a process loses nothing that was written.
        beside = self._file.with_suffix(".next")
        said = {"run": self._run, "hand": place, "deaths": self._deaths}
        beside.write_text(json.dumps(said), encoding="utf-8")
        beside.replace(self._file)


def note(folder: Path, number: int) -> str:
    """Return the marker of a shard as text; empty without one. A worker that makes progress changes it."""
    try:
        return _file(folder, number).read_text(encoding="utf-8")
    except OSError:
        return ""


def _file(folder: Path, number: int) -> Path:
    return folder / "shards" / f"{number:05d}.hand"
