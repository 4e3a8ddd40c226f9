"""Division of images into splits: groups stay together, and classes are kept in proportion as far as groups allow.

A score on images that are nearly those of the training measures memory. Images are therefore divided by groups: near
copies (see `check.fingerprints`), versions of one source (Roboflow's `name_jpg.rf.HASH.jpg`), and shots with
consecutive numbers as long as neighbours look alike. Groups are assigned one by one, the largest first, each to the
split that this brings nearest to its share of the images and of every class's objects.

Stratification by the neediest split: Sechidis et al., "On the Stratification of Multi-Label Data" (ECML 2011).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from singleshot.data.check.duplicates import near_identical_groups
from singleshot.data.check.fingerprints import file_fingerprint
from singleshot.errors import SingleshotError, UsageError
from singleshot.images import MAX_FILE_BYTES
from singleshot.storage.files import file_bytes

GroupBy = Literal["group", "folder", "random"]
MAX_NEIGHBOUR_BITS = 38
"""Neighbours in a series look alike if their hashes differ in at most so many of 128 bits: of 2,000 random pairs of
photographs of playing cards on tables, fewer than 1 in 100 do."""
MIN_NEIGHBOUR_CORRELATION = 0.7
"""… and the grey thumbnails correlate at least so much: large flat areas have equal hashes."""
LARGEST_SHARE = 0.2
"""A group with more than this share of all images (a fixed camera) is cut into runs of consecutive images."""
RUNS = 20
_SOURCE = re.compile(r"(.+)_(?:jpe?g|png|bmp|webp)\.rf\.[0-9A-Za-z]{8,}")
_NUMBER = re.compile(r"(.*?)([0-9]{1,9})")


class Groups(NamedTuple):
    """Which images belong together.

    Args:
        ids: by image, the number of its group.
        cut: images in groups that were too large and were cut into runs.
    """

    ids: list[int]
    cut: int


def groups(images: Sequence[Path], by: GroupBy) -> Groups:
    """Group images.

    Args:
        images: files.
        by: `group` as above, `folder` for the folder that an image lies in, `random` for every image alone.

    An image that cannot be read is grouped by its name alone.
    """
    if by == "random":
        return Groups(list(range(len(images))), 0)
    if by == "folder":
        first: dict[Path, int] = {}
        return Groups([first.setdefault(image.parent, len(first)) for image in images], 0)
    prints = [file_fingerprint(image) for image in images]
    joined = _Joined(len(images))
    for members in near_identical_groups(prints):
        joined.join(members)
    for members in _sources(images).values():
        joined.join(members)
    for first_index, second in _neighbours(images):
        if _look_alike(prints[first_index], prints[second]):
            joined.join([first_index, second])
    return _cut(joined.ids(), images)


class _Joined:
    """Disjoint sets of indices."""

    def __init__(self, count: int) -> None:
        self._parents = list(range(count))

    def _top(self, index: int) -> int:
        while self._parents[index] != index:
            self._parents[index] = self._parents[self._parents[index]]
            index = self._parents[index]
        return index

    def join(self, members: Sequence[int]) -> None:
        for other in members[1:]:
            one, two = sorted((self._top(members[0]), self._top(other)))
            self._parents[two] = one

    def ids(self) -> list[int]:
        return [self._top(index) for index in range(len(self._parents))]


def _sources(images: Sequence[Path]) -> dict[str, list[int]]:
    """Return the images of each source name that occurs more than once."""
    found: dict[str, list[int]] = {}
    for index, image in enumerate(images):
        match = _SOURCE.fullmatch(image.stem)
        if match:
            found.setdefault(match[1], []).append(index)
    return {name: indices for name, indices in found.items() if len(indices) > 1}


def _neighbours(images: Sequence[Path]) -> list[tuple[int, int]]:
    """Return the pairs of images with consecutive numbers at the end of one name."""
    index_of: dict[tuple[str, int], list[int]] = {}
    for index, image in enumerate(images):
        match = _NUMBER.fullmatch(image.stem)
        if match:
            index_of.setdefault((match[1], int(match[2])), []).append(index)
    return [
        (one, other)
        for (prefix, number), indices in index_of.items()
        for one in indices
        for other in index_of.get((prefix, number + 1), [])
    ]


def _look_alike(one: bytes, other: bytes) -> bool:
    if not one or not other:
        return False
    first, second = np.frombuffer(one, np.uint8), np.frombuffer(other, np.uint8)
    if int(np.bitwise_count(first[:16] ^ second[:16]).sum()) > MAX_NEIGHBOUR_BITS:
        return False
    thumbnails = [each[32:].astype(np.float64) - each[32:].mean() for each in (first, second)]
    norm = float(np.sqrt((thumbnails[0] ** 2).sum() * (thumbnails[1] ** 2).sum()))
    return norm > 0 and float((thumbnails[0] * thumbnails[1]).sum()) / norm >= MIN_NEIGHBOUR_CORRELATION


def _cut(ids: list[int], images: Sequence[Path]) -> Groups:
    """Cut groups with a large share of all images into runs in the order of names; equal files stay together."""
    members: dict[int, list[int]] = {}
    for index, group in enumerate(ids):
        members.setdefault(group, []).append(index)
    large = [each for each in members.values() if len(each) > max(2.0, LARGEST_SHARE * len(images))]
    result, free = list(ids), len(images)
    for indices in large:
        run_of: dict[bytes, int] = {}
        length = -(-len(indices) // RUNS)
        for position, index in enumerate(sorted(indices, key=lambda index: images[index].as_posix())):
            try:
                digest = hashlib.sha256(file_bytes(images[index], MAX_FILE_BYTES)).digest()
            except SingleshotError:
                digest = images[index].as_posix().encode("utf-8", "surrogateescape")
            result[index] = run_of.setdefault(digest, free + position // length)
        free += RUNS
    return Groups(result, sum(map(len, large)))


def assign(
    group_ids: Sequence[int],
    names: list[str],
    counts: Float[ndarray, "N C"],
    shares: Mapping[str, float],
    *,
    seed: int = 0,
    fixed: Mapping[int, str] | None = None,
) -> list[str]:
    """Assign every image to a split.

    Args:
        group_ids: by image, its group.
        names: by image, its path, which with the seed decides between equal groups; unique.
        counts: by image, its objects of each class; (N, 0) without classes.
        shares: by split, its share of the images; they sum to 1.
        seed: another one gives another division.
        fixed: by index, the split of images that are assigned already. New images of their groups go with most of them.

    Returns the split of every image; [] for none.

    Raises UsageError where there are fewer groups than splits, so that one would be empty.
    """
    fixed = dict(fixed or {})
    splits = list(shares)
    share = np.array([shares[split] for split in splits])
    features = np.concatenate([np.ones((len(names), 1)), counts], axis=1)
    totals = np.maximum(features.sum(axis=0), 1e-9)
    features = features / totals
    features[:, 0] *= max(1, counts.shape[1])  # as much weight as all classes together
    target = share[:, None] * features.sum(axis=0)
    have = np.zeros_like(target)
    result = [fixed.get(index, "") for index in range(len(names))]
    members: dict[int, list[int]] = {}
    for index, group in enumerate(group_ids):
        members.setdefault(group, []).append(index)
        if result[index] in splits:
            have[splits.index(result[index])] += features[index]
    open_groups = []
    for indices in members.values():
        known = [result[index] for index in indices if result[index]]
        free = [index for index in indices if not result[index]]
        if known and free:
            chosen = max(sorted(set(known), key=lambda split: split != "train"), key=known.count)
            for index in free:
                result[index] = chosen
                if chosen in splits:
                    have[splits.index(chosen)] += features[index]
        elif free:
            open_groups.append(free)
    order = [hashlib.sha256(f"{seed}\0{name}".encode("utf-8", "surrogateescape")).digest() for name in names]
    first = [min(indices, key=lambda index: names[index]) for indices in open_groups]
    ranked = sorted(zip(open_groups, first, strict=True), key=lambda pair: (-len(pair[0]), order[pair[1]]))
    open_groups = [indices for indices, _ in ranked]
    for indices in open_groups:
        size = features[indices].sum(axis=0)
        change = ((have + size - target) ** 2 - (have - target) ** 2).sum(axis=1)
        best = int(np.argmin(np.round(change / np.maximum(share, 1e-9), 12)))
        have[best] += size
        for index in indices:
            result[index] = splits[best]
    return _fill(result, open_groups, splits)


def _fill(result: list[str], open_groups: Sequence[list[int]], splits: Sequence[str]) -> list[str]:
    """Give each empty split the smallest group of a split that has several. Raises UsageError where none has."""
    for split in splits:
        if split in result or not result:
            continue
        owners = [result[indices[0]] for indices in open_groups]
        spare = [indices for indices, owner in zip(open_groups, owners, strict=True) if owners.count(owner) > 1]
        if not spare:
            message = f"the images make {len(open_groups)} groups that look alike, too few for {len(splits)} splits"
            raise UsageError(message, remedy="Divide them by --by random, or name a folder of validation images")
        for index in min(reversed(spare), key=len):
            result[index] = split
    return result
