"""Splits as lists of images, and several lists as one split."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from singleshot.data.faults import make_fault
from singleshot.errors import DataError, Fault
from singleshot.storage.files import file_bytes
from singleshot.structures import Dataset, LabelMap, Sample

MAX_LIST_BYTES = 256 * 2**20
Key = TypeVar("Key")


def numbered_lines(file: Path, max_bytes: int = MAX_LIST_BYTES) -> Iterator[tuple[int, str]]:
    """Yield the lines of a list that are not blank, stripped, with their 1-based numbers; nothing for an empty file.

    File names are bytes on Linux; the same escape as in a folder's listing keeps the two comparable.

    Raises:
        DataError: the list is not a plain file or too large.
        InputMissingError, NotPermittedError, StorageError: as the file system says.
    """
    try:
        data = file_bytes(file, max_bytes)
    except DataError as error:
        if error.kind == "empty-file":
            return
        raise
    for number, line in enumerate(data.decode("utf-8-sig", "surrogateescape").split("\n"), start=1):
        if text := line.strip():
            yield number, text


def without_repeats(
    lines: Iterable[tuple[int | None, str, Key]], file: Path
) -> tuple[dict[Key, int | None], list[Fault]]:
    """Return the first line of everything that a list names, in its order, and a warning for each repetition.

    Args:
        lines: (line, the name as written, what it stands for).
        file: the list.
    """
    first: dict[Key, int | None] = {}
    faults = []
    for line, name, key in lines:
        if key in first:
            message = f"{name} is already in line {first[key]}; it is used once"
            faults.append(make_fault("duplicate-id", message, file, line))
        else:
            first[key] = line
    return first, faults


def joined(root: Path, split: str, parts: Sequence[tuple[str, Dataset]], label_map: LabelMap | None) -> Dataset:
    """Join several splits of one layout.

    Args:
        root: the folder that the user named.
        split: the name of the union.
        parts: the name of each part's folder, and the part.
        label_map: the classes and their order; None for the names of all parts, sorted.

    Returns:
        The samples part after part, each image once: a warning (`duplicate-id`) counts the images of two parts. Image
        ids are those of the parts; where two folders share one, each gets its folder's name and a slash before it.
    """
    names = label_map.names if label_map else sorted({name for _, part in parts for name in part.label_map.names})
    ids = {name: class_id for class_id, name in enumerate(names)}
    folders_of: dict[str, set[str]] = {}
    for folder, part in parts:
        for sample in part.samples:
            folders_of.setdefault(sample.image_id, set()).add(folder)
    samples: dict[Path, Sample] = {}
    for folder, part in parts:
        new_ids = np.array([ids[name] for name in part.label_map.names], np.int64)
        for sample in part.samples:
            is_unique = len(folders_of[sample.image_id]) == 1
            image_id = sample.image_id if is_unique else f"{folder}/{sample.image_id}"
            class_ids = new_ids[sample.class_ids] if len(new_ids) else sample.class_ids
            samples.setdefault(sample.image_path, replace(sample, image_id=image_id, class_ids=class_ids))
    faults = dict.fromkeys(fault for _, part in parts for fault in part.faults)
    repeated = sum(len(part) for _, part in parts) - len(samples)
    if repeated:
        message = f"{repeated} images are in two parts of {split}; each is used once"
        faults[make_fault("duplicate-id", message, root, remedy="")] = None
    return Dataset(root, parts[0][1].layout, split, LabelMap(tuple(names)), tuple(samples.values()), tuple(faults))
