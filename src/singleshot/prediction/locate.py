"""Which file a user means by "the weights": a path, the name of published weights, or a repository on the hub.

They are tried in this order, so that a file that is there is never passed over for something on the network.
"""

from __future__ import annotations

from pathlib import Path

from singleshot import hub
from singleshot.errors import InputMissingError, nearest
from singleshot.storage import download

OF_RUNS = ("best.safetensors", "train/best.safetensors")
"""Where a training run and a demo leave weights. Which of a run's files is meant is for the user to say."""


def find_weights(name: str | Path, *, observer: download.Observer | None = None) -> Path:
    """The weights file on this machine, fetched into a cache where it has to be.

    Args:
        name: a path; a folder with `model.safetensors`; a name of `weights import`; `owner/name` on the hub.
        observer: is told how a download goes on.

    Raises:
        InputMissingError: it is none of these, or a folder without `model.safetensors`, such as a run's.
        UnreachableError: it is to be had from the network alone, and there is none.
        DataError: what was fetched is not what was published.
    """
    from singleshot.foreign import sources

    path, text = Path(name), str(name)
    if path.is_dir():
        return _in_folder(path)
    if path.exists():
        return path
    if sources.find(text) is not None:
        from singleshot.foreign.importing import cached

        return cached(text, observer=observer)
    if hub.is_repository_id(text):
        return hub.fetch(text)
    near = nearest(text, [row.name for row in sources.SOURCES])
    remedy = f"Did you mean {near}?" if near else "Check the path, or see `singleshot weights import --help`"
    raise InputMissingError("no such weights file", remedy=remedy, file=path)


def _in_folder(folder: Path) -> Path:
    if (folder / hub.WEIGHTS).is_file():
        return folder / hub.WEIGHTS
    near = next((folder / name for name in OF_RUNS if (folder / name).is_file()), None)
    remedy = f"Did you mean {near}?" if near else "Name the file itself"
    raise InputMissingError(f"a folder without {hub.WEIGHTS}", remedy=remedy, file=folder)
