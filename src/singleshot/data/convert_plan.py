"""What every writer of a data set needs: which file goes where under what name, and a list of what was lost.

Pictures are copied byte for byte and keep their names. A layout with one folder for all splits needs names that are
unique in all of them; two pictures that would cover each other up are refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from singleshot.boxes import area
from singleshot.errors import DataError, UsageError
from singleshot.images import MAX_FILE_BYTES, read_size_hw
from singleshot.storage import files
from singleshot.structures import Dataset, Sample

_SPLIT = re.compile(r"[^\W_][\w.-]*", re.ASCII)


@dataclass(frozen=True)
class Item:
    """One picture on its way.

    Args:
        sample: what is written of it.
        split: the (first) split that it is in.
        size_hw: its height and width.
    """

    sample: Sample
    split: str
    size_hw: tuple[int, int]

    @property
    def file_name(self) -> str:
        """The picture's file name, kept as it is."""
        return self.sample.image_path.name

    @property
    def stem(self) -> str:
        """The name that its annotation gets."""
        return self.sample.image_path.stem


@dataclass
class Conversion:
    """A conversion under way, and what it has to say in the end.

    Args:
        on_picture: called after each picture with how many are done.
        notes: what the target layout cannot hold, a sentence each.
        pictures: how many were copied.
        boxes: how many were offered to the writer.
    """

    on_picture: Callable[[int], None] = lambda _done: None
    notes: list[str] = field(default_factory=list)
    pictures: int = 0
    boxes: int = 0

    def items(self, datasets: Sequence[Dataset], *, one_folder: bool) -> Iterator[Item]:
        """The pictures in order; with one folder for all splits, a picture of two splits comes once.

        Raises DataError where two pictures would get the same name.
        """
        taken: dict[tuple[str, str], Path] = {}
        masks = 0
        for dataset in datasets:
            for sample in dataset.samples:
                place = ("" if one_folder else split_of(dataset), sample.image_path.stem)
                other = taken.setdefault(place, sample.image_path)
                if other is not sample.image_path:
                    if other == sample.image_path and one_folder:
                        continue
                    what = f"{other} and this picture would both be called {place[1]}"
                    raise DataError(what, kind="same-name", remedy="Rename one of them", file=sample.image_path)
                masks += sample.mask_path is not None
                self.boxes += len(sample.boxes_xyxy)
                yield Item(sample, split_of(dataset), sample.size_hw or read_size_hw(sample.image_path))
        self.note(masks, "mask is", "masks are", "not carried over: conversions are of boxes")

    def copy(self, item: Item, to: Path) -> None:
        """The picture's bytes to their new place. Raises what `files.file_bytes` raises, with the picture's name."""
        to.write_bytes(files.file_bytes(item.sample.image_path, MAX_FILE_BYTES, kind="too-large-picture"))
        self.pictures += 1
        self.on_picture(self.pictures)

    def note(self, count: int, one: str, many: str, what: str) -> None:
        """Add `count one what` to the notes, unless the count is 0."""
        if count:
            self.notes.append(f"{counted(count, one, many)} {what}")


def counted(count: int, one: str, many: str) -> str:
    """A count with its noun.

    >>> counted(1, "box", "boxes"), counted(2, "box", "boxes")
    ('1 box', '2 boxes')
    """
    return f"{count} {one if count == 1 else many}"


def has_mask_areas(sample: Sample) -> bool:
    """Whether the areas of its objects are others than those of their boxes: those of outlines or masks."""
    return sample.areas is not None and not np.allclose(sample.areas, area(sample.boxes_xyxy), rtol=1e-3, atol=0.5)


def set_up(folder: Path, *parts: str) -> None:
    """Make these folders below a folder."""
    for part in parts:
        (folder / part).mkdir(parents=True)


def split_of(dataset: Dataset) -> str:
    """The split's name. Raises UsageError where it cannot name a file."""
    if not _SPLIT.fullmatch(dataset.split):
        raise UsageError(f"the split {dataset.split!r} cannot name a file", remedy="Choose another by --split")
    return dataset.split
