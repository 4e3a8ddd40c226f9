"""Pictures that are in two splits, or twice in one: what makes a score too good to be true.

A picture that was trained on and then judged on measures memory. Splits that are meant to be apart (train and val,
trainval and test, …) must not share one, neither by name nor, under two names, by the bytes of the file. Splits
that hold each other by design (trainval and train) may.
"""

from __future__ import annotations

import filecmp
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

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
    """Where a split names a picture: the picture's file, and the list with its 1-based line."""

    picture: Path
    file: Path
    line: int | None


def are_apart(first: str, second: str) -> bool:
    """Whether two splits of these names must not share a picture. False for names that are not known.

    >>> are_apart("train2017", "val2017"), are_apart("trainval", "val"), are_apart("train", "mine")
    (True, False, False)
    """
    one, other = (_PARTS.get(re.sub(r"[-_]?[0-9]{2,4}$", "", name.lower()), frozenset()) for name in (first, second))
    return bool(one) and bool(other) and not one & other


def in_two_splits(splits: Mapping[str, Sequence[Place]]) -> list[Fault]:
    """A fatal fault (`leak`) for each picture that two splits name which must be apart, at the second one's line."""
    faults = []
    for first, second in combinations(splits, 2):
        if are_apart(first, second):
            known = {place.picture: place for place in splits[first]}
            faults += [
                _leak(place, f"is in {first} too{_at(known[place.picture])}")
                for place in splits[second]
                if place.picture in known
            ]
    return faults


def same_bytes(digests: Mapping[Path, bytes], splits: Mapping[str, Sequence[Place]]) -> list[Fault]:
    """Pictures with the same bytes under two names: a `leak` (fatal) across splits, else a warning.

    Args:
        digests: of each picture's file; an empty one for a file that could not be read.
        splits: by name, what each names.
    """
    first: dict[bytes, Path] = {}
    members: dict[Path, set[str]] = {}
    for split, places in splits.items():
        for place in places:
            members.setdefault(place.picture, set()).add(split)
    faults = []
    for path in sorted(digests):
        original = first.setdefault(digests[path], path)
        if original == path or not digests[path]:
            continue
        pairs = [(a, b) for a in sorted(members.get(original, ())) for b in sorted(members.get(path, ()))]
        apart = [pair for pair in pairs if are_apart(*pair)]
        if apart:
            what = f"is {apart[0][1]}'s, and the same file as {original.name} of {apart[0][0]}"
            faults.append(_leak(Place(path, path, None), what))
        else:
            what = f"the same file as {original.name}. Delete one of them."
            faults.append(Fault(path, None, "duplicate-picture", "warning", what))
    return faults


def without_leaks(train: Dataset, val: Dataset) -> tuple[list[Sample], list[Fault]]:
    """The samples to train on that are not to be judged on, and a fatal fault (`leak`) for each of the others.

    Pictures are the same if their file is, or the bytes in it. Only files of equal length are compared by content,
    which are a few in a hundred, so that this takes a moment and not a reading of the whole data set.
    """
    judged = {sample.image_path.resolve(): sample.image_path for sample in val.samples}
    of_length: dict[int, list[Path]] = {}
    for path in judged.values():
        of_length.setdefault(_length(path), []).append(path)
    kept, faults = [], []
    for sample in train.samples:
        place = Place(sample.image_path, sample.image_path, None)
        alike = of_length.get(_length(sample.image_path), [])
        if sample.image_path.resolve() in judged:
            faults.append(_leak(place, f"is in {train.split} and in {val.split}"))
        elif (twin := _twin(sample.image_path, alike)) is not None:
            faults.append(_leak(place, f"is {train.split}'s, and the same file as {twin.name} of {val.split}"))
        else:
            kept.append(sample)
    return kept, faults


def _length(path: Path) -> int:
    """A file's bytes; −1 for one that is not there, which its reader names."""
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _twin(path: Path, alike: Sequence[Path]) -> Path | None:
    """The first of some files that holds the same as this one."""
    for other in alike:
        try:
            if filecmp.cmp(path, other, shallow=False):
                return other
        except OSError:
            continue
    return None


def _leak(place: Place, what: str) -> Fault:
    message = f"{place.picture.stem} {what}: its score would be of memory. Take it out of one of them."
    return Fault(place.file, place.line, "leak", "fatal", message)


def _at(place: Place) -> str:
    if place.file == place.picture:
        return ""
    return f" ({place.file.name}:{place.line})"


def places_of(samples: Iterable[Sample]) -> list[Place]:
    """The places of a split that has no list of its own: the pictures themselves."""
    return [Place(sample.image_path, sample.image_path, None) for sample in samples]
