"""What every runtime of exported models looks like from here: pictures in, named arrays out.

A backend opens one kind of file, after it has looked at it, and runs it. It knows nothing of detections; `exported`
makes them of its arrays.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from jaxtyping import UInt8
from numpy import ndarray

from singleshot.errors import DataError, UsageError
from singleshot.prediction.export_record import ExportRecord


@runtime_checkable
class Backend(Protocol):
    """An exported model in its runtime.

    Attributes:
        record: what the file says of itself.
    """

    @property
    def record(self) -> ExportRecord:
        """What the file says of itself."""
        ...

    def run(self, images: UInt8[ndarray, "B H W 3"]) -> Mapping[str, Any]:
        """The file's outputs by name, as NumPy arrays, for uint8 RGB pictures of one size."""
        ...


def check_outputs(names: Sequence[str], record: ExportRecord, path: Path) -> None:
    """Raise DataError unless a file's outputs are those that its record speaks of, in that order."""
    if tuple(names) != record.output_names:
        what = f"its outputs are {', '.join(names)}; needed are {', '.join(record.output_names)}"
        raise DataError(what, kind="other-outputs", remedy="Export it again with `singleshot export`", file=path)


def refused(runtime: str, error: Exception, path: Path) -> DataError:
    """What to raise where a runtime will not open a file; its own words, shortened to a line, are in it."""
    what = f"{runtime} refuses it ({' '.join(str(error).split())[:200]})"
    return DataError(what, kind="damaged-export", remedy="Export it again with `singleshot export`", file=path)


def refuse_fork(process: int, runtime: str) -> None:
    """Raise UsageError unless this is the process with that number: a runtime's threads do not enter a forked one."""
    if os.getpid() != process:
        message = f"the model was opened before this process was forked, and {runtime} does not work across a fork"
        raise UsageError(message, remedy="Load the model in this process, or start it by `spawn`")
