"""Where weights come from: what every file of a run says of its making."""

from __future__ import annotations

import datetime
import platform
import shlex
import sys
from pathlib import Path
from typing import Any

import torch

from singleshot.structures import Dataset


def this_command() -> str:
    """The command line of this process as one could type it again, without the folder of the program."""
    return shlex.join([Path(sys.argv[0]).name or "python", *sys.argv[1:]])


def provenance_of(data: Dataset) -> dict[str, Any]:
    """The facts of a run that learns from this split: command, date (UTC), data and versions, as JSON holds them."""
    return {
        "made_by": "singleshot train",
        "command": this_command(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "data": data.root.name,
        "split": data.split,
        "images": len(data),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
