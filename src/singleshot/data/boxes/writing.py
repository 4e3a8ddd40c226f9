"""Shared by the writers of data sets: the images to write, their names, and sentences about losses.

Images are copied byte for byte and keep their names. A layout with one folder for all splits needs names that are
unique in all of them; two images that would overwrite each other are refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from singleshot.boxes import area
from singleshot.errors import DataError, UsageError
from singleshot.images import MAX_FILE_BYTES, read_size_hw
from singleshot.storage.files import file_bytes
from singleshot.structures import Dataset, Sample

_SPLIT = re.compile(r"[^\W_][\w.-]*", re.ASCII)


@dataclass(frozen=True)
class Item:
    """One image to write.

    Args:
        sample: the image and its annotation.
        split: the (first) split that it is in.
        size_hw: its height and width.
    """

    sample: Sample
    split: str
    size_hw: tuple[int, int]

    @property
    def file_name(self) -> str:
        """The image's file name, which it keeps."""
        return self.sample.image_path.name

    @property
    def stem(self) -> str:
        """The name that its annotation gets."""
        return self.sample.image_path.stem

    def copy_image(self, to: Path) -> None:
        """Write the image's bytes to a file. Raises what `file_bytes` raises, with the name of the source."""
        to.write_bytes(file_bytes(self.sample.image_path, MAX_FILE_BYTES, kind="too-large-picture"))


def items(datasets: Sequence[Dataset], *, one_folder: bool) -> Iterator[Item]:
    """Yield the images of some splits in order.

    Args:
        datasets: the splits.
        one_folder: all splits share one folder, so an image of two splits comes once.

    Raises DataError where two images would get the same name.
    """
    taken: dict[tuple[str, str], Path] = {}
    for dataset in datasets:
        split = split_name(dataset)
        for sample in dataset.samples:
            stem = sample.image_path.stem
            other = taken.setdefault(("" if one_folder else split, stem), sample.image_path)
            if other is not sample.image_path:
                if other == sample.image_path and one_folder:
                    continue
                message = f"{other} and this image would both be called {stem}"
                raise DataError(message, kind="same-name", remedy="Rename one of them", file=sample.image_path)
            yield Item(sample, split, sample.size_hw or read_size_hw(sample.image_path))


def split_name(dataset: Dataset) -> str:
    """Return the split's name. Raises UsageError where it cannot be the name of a file."""
    if not _SPLIT.fullmatch(dataset.split):
        raise UsageError(f"the split {dataset.split!r} cannot name a file", remedy="Choose another by --split")
    return dataset.split


def make_folders(folder: Path, *names: str) -> None:
    """Make these folders below a folder."""
    for name in names:
        (folder / name).mkdir(parents=True)


def counted(count: int, one: str, many: str) -> str:
    """Return a count with its noun.

    >>> counted(1, "box", "boxes"), counted(2, "box", "boxes")
    ('1 box', '2 boxes')
    """
    return f"{count} {one if count == 1 else many}"


def note(count: int, one: str, many: str, message: str) -> list[str]:
    """Return the sentence `count one message` about a loss, in a list; [] where nothing is lost."""
    return [f"{counted(count, one, many)} {message}"] if count else []


def has_mask_areas(sample: Sample) -> bool:
    """Return whether the areas of its objects differ from those of their boxes: they are areas of outlines or masks."""
    return sample.areas is not None and not np.allclose(sample.areas, area(sample.boxes_xyxy), rtol=1e-3, atol=0.5)


def crowd_count(sample: Sample) -> int:
    """Return how many of its boxes are crowds."""
    return 0 if sample.crowd is None else int(sample.crowd.sum())
