"""Images that are in two splits, or twice in one: what makes a score too good to be true.

An image that was trained on and then evaluated on measures memory. Splits that are meant to be disjoint (train and val,
trainval and test, …) must not share one, neither by name nor, under two names, by the bytes of the file. Splits that
contain each other by design (trainval and train) may. Near copies, such as frames of one video or a picture that was
resized or mirrored, share their content without a byte in common: a warning, because a score is too good then, too.
"""

from __future__ import annotations

import filecmp
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from singleshot.data.check.fingerprints import file_fingerprint, near_copies
from singleshot.data.faults import make_fault
from singleshot.errors import Fault
from singleshot.structures import Dataset, Sample

_PARTS = {
    "train": frozenset({"train"}),
    "val": frozenset({"val"}),
    "valid": frozenset({"val"}),
    "validation": frozenset({"val"}),
    "trainval": frozenset({"train", "val"}),
    "test": frozenset({"test"}),
}


@dataclass(frozen=True)
class Place:
    """Where a split names an image: the image's file, and the list with its 1-based line."""

    image: Path
    file: Path
    line: int | None


def are_disjoint(first: str, second: str) -> bool:
    """Return whether two splits of these names must not share an image. False for names that are not known.

    >>> are_disjoint("train2017", "val2017"), are_disjoint("trainval", "val"), are_disjoint("train", "mine")
    (True, False, False)
    """
    one, other = (_PARTS.get(re.sub(r"[-_]?[0-9]{2,4}$", "", name.lower()), frozenset()) for name in (first, second))
    return bool(one) and bool(other) and not one & other


def in_two_splits(splits: Mapping[str, Sequence[Place]]) -> list[Fault]:
    """Return a fatal fault (`leak`) for each image in two disjoint splits, at the second one's line."""
    faults = []
    for first, second in combinations(splits, 2):
        if are_disjoint(first, second):
            known = {place.image: place for place in splits[first]}
            for place in splits[second]:
                if place.image in known:
                    other = known[place.image]
                    at = "" if other.file == other.image else f" ({other.file.name}:{other.line})"
                    faults.append(_leak(place, f"is in {first} too{at}"))
    return faults


def same_bytes(digests: Mapping[Path, bytes], splits: Mapping[str, Sequence[Place]]) -> list[Fault]:
    """Return a fault for each image with the bytes of another one: a `leak` (fatal) across splits, else a warning.

    Args:
        digests: of each image file; an empty one for a file that could not be read.
        splits: by name, the images of each.
    """
    first: dict[bytes, Path] = {}
    members: dict[Path, set[str]] = {}
    for split, places in splits.items():
        for place in places:
            members.setdefault(place.image, set()).add(split)
    faults = []
    for path in sorted(digests):
        original = first.setdefault(digests[path], path)
        if original == path or not digests[path]:
            continue
        pairs = [(a, b) for a in sorted(members.get(original, ())) for b in sorted(members.get(path, ()))]
        apart = [pair for pair in pairs if are_disjoint(*pair)]
        if apart:
            message = f"is {apart[0][1]}'s, and the same file as {original.name} of {apart[0][0]}"
            faults.append(_leak(Place(path, path, None), message))
        else:
            faults.append(make_fault("duplicate-picture", f"the same file as {original.name}", path))
    return faults


def near_identical_groups(images: Sequence[Path | bytes]) -> list[list[int]]:
    """Group images that are the same or near copies: recompressed, resized, brightened or mirrored.

    Args:
        images: files, or fingerprints (`fingerprints.fingerprint`) where they are known. A file that cannot be read is
            in no group: its reader reports it.

    Returns:
        The indices of the images of each group of two or more, ascending, in the order of their first ones; [] where
        no image repeats another. Copies of copies are in one group.
    """
    group_of = np.arange(len(images))
    members = {index: [index] for index in range(len(images))}
    fingerprints = [each if isinstance(each, bytes) else file_fingerprint(each) for each in images]
    for pairs in near_copies(fingerprints, lambda first, second: group_of[first] != group_of[second]):
        for first, second in pairs.tolist():
            one, other = sorted((int(group_of[first]), int(group_of[second])))
            if one != other:
                joined = members.pop(other)
                members[one] += joined
                group_of[joined] = one
    return [sorted(group) for _, group in sorted(members.items()) if len(group) > 1]


def near_copies_across_splits(
    fingerprints: Mapping[Path, bytes], digests: Mapping[Path, bytes], splits: Mapping[str, Sequence[Place]]
) -> list[Fault]:
    """Return a warning (`near-duplicate-across-splits`) for each image that nearly equals one of a disjoint split.

    Args:
        fingerprints: of each image file; an empty one for a file that could not be read.
        digests: of the files' bytes: equal files are `same_bytes`' faults.
        splits: by name, the images of each.
    """
    members: dict[Path, list[str]] = {}
    for split, places in splits.items():
        for place in places:
            members.setdefault(place.image, []).append(split)
    paths = sorted(path for path in fingerprints if path in members)
    order = {split: index for index, split in enumerate(splits)}
    numbers: dict[tuple[str, ...], int] = {}
    set_of = np.array([numbers.setdefault(tuple(members[path]), len(numbers)) for path in paths], np.int64)
    leaking = np.array([[_leaking_pair(one, other, order) is not None for other in numbers] for one in numbers], bool)
    contents: dict[bytes | None, int] = {}
    content = np.array([contents.setdefault(digests.get(path), len(contents)) for path in paths], np.int64)
    reported = np.zeros(len(paths), bool)

    def undecided(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        apart = leaking[set_of[first], set_of[second]] | leaking[set_of[second], set_of[first]]
        return apart & (content[first] != content[second]) & ~reported[first] & ~reported[second]

    faults = []
    for pairs in near_copies([fingerprints[path] for path in paths], undecided):
        for first, second in pairs.tolist():
            for one, other in ((first, second), (second, first)):
                leak = _leaking_pair(members[paths[one]], members[paths[other]], order)
                if leak is None or reported[one] or reported[other]:
                    continue
                message = f"is {leak[0]}'s, and nearly the same image as {paths[other].name} of {leak[1]}"
                faults.append(make_fault("near-duplicate-across-splits", message, paths[one]))
                reported[one] = True
    return faults


def _leaking_pair(one: Sequence[str], other: Sequence[str], order: Mapping[str, int]) -> tuple[str, str] | None:
    """Return the first two disjoint splits of two images, if the first image's is the later: a leak is named there."""
    apart = next(((a, b) for a in one for b in other if are_disjoint(a, b)), None)
    return apart if apart is not None and order[apart[0]] >= order[apart[1]] else None


def without_leaks(train: Dataset, val: Dataset) -> tuple[list[Sample], list[Fault]]:
    """Return the samples to train on that are not in `val`, and a fatal fault (`leak`) for each of the others.

    Images are the same if their file is, or the bytes in it. Only files of equal length are compared by content,
    which are a few in a hundred, so that this takes a moment and not the time to read the whole data set.
    """
    evaluated = {sample.image_path.resolve(): sample.image_path for sample in val.samples}
    of_length: dict[int, list[Path]] = {}
    for path in evaluated.values():
        of_length.setdefault(_length(path), []).append(path)
    kept, faults = [], []
    for sample in train.samples:
        place = Place(sample.image_path, sample.image_path, None)
        alike = of_length.get(_length(sample.image_path), [])
        if sample.image_path.resolve() in evaluated:
            faults.append(_leak(place, f"is in {train.split} and in {val.split}"))
        elif (twin := _twin(sample.image_path, alike)) is not None:
            faults.append(_leak(place, f"is {train.split}'s, and the same file as {twin.name} of {val.split}"))
        else:
            kept.append(sample)
    return kept, faults


def _length(path: Path) -> int:
    """Return a file's number of bytes; −1 for one that does not exist, which its reader reports."""
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _twin(path: Path, alike: Sequence[Path]) -> Path | None:
    """Return the first of some files that has the same bytes as this one."""
    for other in alike:
        try:
            if filecmp.cmp(path, other, shallow=False):
                return other
        except OSError:
            continue
    return None


def _leak(place: Place, message: str) -> Fault:
    message = f"{place.image.stem} {message}: its score would measure memory"
    return make_fault("leak", message, place.file, place.line)
