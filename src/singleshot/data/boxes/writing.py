"""Shared by the writers of data sets: the images to write, their names, and sentences about losses.

Images are copied byte for byte and keep their names. A layout with one folder for all splits needs names that are
unique in all of them: images of one name in several folders get the folders' names before theirs.
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
        stem: the name that its annotation gets, and its file without the suffix.
    """

    sample: Sample
    split: str
    size_hw: tuple[int, int]
    stem: str

    @property
    def file_name(self) -> str:
        """The name that the image's file gets: its own, or one with the names of its folders."""
        return f"{self.stem}{self.sample.image_path.suffix}"

    def copy_image(self, to: Path) -> None:
        """Write the image's bytes to a file. Raises what `file_bytes` raises, with the name of the source."""
        to.write_bytes(file_bytes(self.sample.image_path, MAX_FILE_BYTES, kind="too-large-picture"))


def items(datasets: Sequence[Dataset], *, one_folder: bool) -> Iterator[Item]:
    """Yield the images of some splits in order.

    Args:
        datasets: the splits.
        one_folder: all splits share one folder, so an image of two splits comes once.

    Images keep their names; those of one name in several folders get the names of these folders before their own.

    Raises DataError where two images would still get the same name, or an annotated size is not the image's own.
    """
    taken: dict[tuple[str, str], Path] = {}
    repeated = _repeated_stems(datasets, one_folder)
    for dataset in datasets:
        split = split_name(dataset)
        scope = "" if one_folder else split
        for sample in dataset.samples:
            path = sample.image_path
            stem = path.stem
            if (scope, stem) in repeated:  # then with the names of its folders, such as cam1_0001
                folder = dataset.root if dataset.root.is_dir() else dataset.root.parent
                below = path.relative_to(folder) if path.is_relative_to(folder) else Path(*path.parts[-3:])
                stem = "_".join([*below.parent.parts, stem])
            other = taken.setdefault((scope, stem), path)
            if other is not path:
                if other == path and one_folder:
                    continue
                message = f"{other} and this image would both be called {stem}"
                raise DataError(message, kind="same-name", remedy="Rename one of them", file=path)
            size_hw = read_size_hw(path)
            if sample.size_hw not in (None, size_hw):
                raise wrong_size(sample, size_hw)
            yield Item(sample, split, size_hw, stem)


def wrong_size(sample: Sample, size_hw: tuple[int, int]) -> DataError:
    """Return the error for an image whose annotation has another size than its own, `size_hw`."""
    height, width = sample.size_hw or (0, 0)
    message = f"the annotated size is {width}×{height}, but the image has {size_hw[1]}×{size_hw[0]} pixels"
    remedy = "Correct the size if the boxes fit the image; else scale them"
    if (height, width) == size_hw[::-1]:
        remedy = "Width and height are swapped, as by EXIF's rotation: turn the boxes too, or delete the tag"
    return DataError(message, kind="wrong-size", remedy=remedy, file=sample.image_path)


def _repeated_stems(datasets: Sequence[Dataset], one_folder: bool) -> set[tuple[str, str]]:
    """Return the names, with their split where each has a folder of its own, that several images have."""
    first: dict[tuple[str, str], Path] = {}
    repeated = set()
    for dataset in datasets:
        for sample in dataset.samples:
            key = ("" if one_folder else dataset.split, sample.image_path.stem)
            if first.setdefault(key, sample.image_path) != sample.image_path:
                repeated.add(key)
    return repeated


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


def has_own_areas(sample: Sample) -> bool:
    """Return whether the areas of its objects differ from those of their boxes, as those of outlines do."""
    return sample.areas is not None and not np.allclose(sample.areas, area(sample.boxes_xyxy), rtol=1e-3, atol=0.5)


def outline_note(datasets: Sequence[Dataset], why: str) -> list[str]:
    """Return the sentence about outlines that are lost, in a list; [] where the data has none."""
    return note(sum(dataset.outlines for dataset in datasets), "outline is", "outlines are", f"lost: {why}")


def crowd_count(sample: Sample) -> int:
    """Return how many of its boxes are crowds."""
    return 0 if sample.crowd is None else int(sample.crowd.sum())
