"""How the verbs of `singleshot data` open a folder, and what they say of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from singleshot.cli import progress
from singleshot.errors import InputMissingError

if TYPE_CHECKING:
    from singleshot.structures import Dataset


def read_split(path: Path, split: str, data_format: str | None) -> Dataset:
    """One split of a folder; how many faulty boxes or pictures were left out is said on stderr."""
    from singleshot.data import read
    from singleshot.data.faults import leaves_out

    dataset = read.read(path, split, layout=data_format)
    faults = [fault for fault in dataset.faults if leaves_out(fault)]
    if faults:
        progress.warn(f"{len(faults)} faulty boxes or pictures were left out: see `singleshot data check {path}`")
    return dataset


def read_splits(path: Path, wanted: Sequence[str] | None, data_format: str | None) -> list[Dataset]:
    """Some splits of a folder, with the classes of the first for all.

    Args:
        path: the folder.
        wanted: names, or `old=new` for another name; None for all that there are.
        data_format: the layout; None to recognise it.

    Raises InputMissingError where there is no split, and what the readers raise.
    """
    from singleshot.data import read
    from singleshot.data.convert import renamed

    wanted = wanted if wanted is not None else read.splits(path, layout=data_format)
    if not wanted:
        raise InputMissingError("no split", remedy="Name one by --split", file=path)
    datasets: list[Dataset] = []
    for name in wanted:
        old, _, new = name.partition("=")
        label_map = datasets[0].label_map if datasets else None
        datasets.append(renamed(read.read(path, old, layout=data_format, label_map=label_map), new or old))
    return datasets
