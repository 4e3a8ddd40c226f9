"""Boxes that annotate one object twice, identical or nearly so, and boxes that are too small to learn.

An object that was labelled twice teaches the network to detect it twice, and counts a right detection as missed. Two
boxes of one class with an IoU of 0.8 or more are almost never two objects; of different classes they may well be
(a person and a coat), and are no fault.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from singleshot.data.faults import make_fault
from singleshot.errors import Fault

LEAST_IOU = 0.8
FEW = 32
NETWORK_SIDE = 300
"""Pixels a side of the smallest usual network input."""


@dataclass(frozen=True)
class BoxPlace:
    """Where a box is: its file, its 1-based line (None where the format has none), and the box as written there."""

    file: Path
    line: int | None
    shown: str


def near_duplicates(
    boxes_xyxy: Float[ndarray, "N 4"], class_ids: Int[ndarray, " N"], least_iou: float = LEAST_IOU
) -> tuple[Int[ndarray, "P 2"], Float[ndarray, " P"]]:
    """Find boxes that repeat another one of their class.

    Args:
        boxes_xyxy: (N, 4) continuous, in any unit; those without a positive area repeat nothing.
        class_ids: (N,) their classes.
        least_iou: above 0; the overlap from which a box counts as a repetition.

    Returns:
        Pairs (first, second) of rows with first < second, in the order of the second, each of which occurs once; and
        the IoU of each pair, 1 for identical boxes. A box that was found to repeat another is no original to a third.
        (0, 2) and (0,) where nothing is repeated, and for no boxes.

    Time and memory: boxes are sorted by their left or top edge (whichever parts them better), and an IoU of t needs
    edges within (1 − t) sides of each other; so 10,000 boxes that lie apart cost a few passes over N numbers, never
    N × N.
    """
    usable = np.flatnonzero((boxes_xyxy[:, 2:] > boxes_xyxy[:, :2]).all(axis=1))
    edges = [np.sort(boxes_xyxy[usable, axis]) for axis in (0, 1)]
    reaches = [_reach(boxes_xyxy[usable], axis, least_iou) for axis in (0, 1)]
    # The axis on which fewer pairs are near enough.
    axis = min((0, 1), key=lambda axis: np.searchsorted(edges[axis], reaches[axis], side="right").sum())
    rows = usable[np.lexsort((boxes_xyxy[usable, axis], class_ids[usable]))]
    boxes, ids = boxes_xyxy[rows], class_ids[rows]
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    edge, reach = boxes[:, axis], _reach(boxes, axis, least_iou)
    partner = np.full(len(rows), -1, np.int64)
    overlap = np.zeros(len(rows))
    active = np.arange(len(rows))

    def compare(first: ndarray, second: ndarray) -> None:
        low = np.maximum(boxes[first, :2], boxes[second, :2])
        high = np.minimum(boxes[first, 2:], boxes[second, 2:])
        common = (high - low).clip(0).prod(axis=1)
        iou = common / (area[first] + area[second] - common)
        for hit in np.flatnonzero(iou >= least_iou):  # one by one: a box may be in two of these pairs
            pair = sorted((first[hit], second[hit]), key=rows.__getitem__)
            if partner[pair[0]] < 0 and partner[pair[1]] < 0:
                partner[pair[1]], overlap[pair[1]] = rows[pair[0]], iou[hit]

    step = 0
    while len(active) > FEW:  # all boxes with their next neighbour, then with the one after it, …
        step += 1
        active = active[active + step < len(rows)]
        near = (ids[active] == ids[active + step]) & (edge[active + step] <= reach[active])
        active = active[near & (partner[active] < 0)]  # in sorted order, who is too far now stays too far
        first = active[partner[active + step] < 0]
        compare(first, first + step)
    for row in active:  # the last few with all that is left at once: they may have thousands of neighbours
        others = np.arange(row + step + 1, len(rows))
        others = others[(ids[others] == ids[row]) & (edge[others] <= reach[row]) & (partner[others] < 0)]
        if partner[row] < 0:
            compare(np.full(len(others), row), others)
    found = np.flatnonzero(partner >= 0)
    found = found[np.argsort(rows[found], kind="stable")]
    return np.stack([partner[found], rows[found]], axis=1).astype(np.int64), overlap[found]


def _reach(boxes_xyxy: Float[ndarray, "N 4"], axis: int, least_iou: float) -> Float[ndarray, " N"]:
    """Return how far right (axis 0) or down (1) a box can begin that overlaps these enough."""
    return boxes_xyxy[:, axis] + (boxes_xyxy[:, axis + 2] - boxes_xyxy[:, axis]) * (1 - least_iou + 1e-9)


def repeated(
    boxes_xyxy: Float[ndarray, "N 4"], class_ids: Int[ndarray, " N"], places: Sequence[BoxPlace]
) -> Iterator[Fault]:
    """Yield a warning for each box that repeats another one: `duplicate-box` or `near-duplicate-box`.

    Args:
        boxes_xyxy: (N, 4) pixels, continuous.
        class_ids: (N,) their classes.
        places: (N,) where each is.
    """
    pairs, overlaps = near_duplicates(boxes_xyxy, class_ids)
    for (first, second), iou in zip(pairs.tolist(), overlaps.tolist(), strict=True):
        place, other = places[second], places[first]
        at = other.shown if other.line is None else f"that of line {other.line}"
        if np.array_equal(boxes_xyxy[first], boxes_xyxy[second]):
            kind, message = "duplicate-box", f"is the same as {at}; both are kept"
        else:
            kind, message = "near-duplicate-box", f"nearly repeats {at} (IoU {iou:.2f}); both are kept"
        yield make_fault(kind, f"{place.shown} {message}", place.file, place.line)


def tiny(boxes_xyxy: Float[ndarray, "N 4"], size_hw: tuple[int, int], places: Sequence[BoxPlace]) -> Iterator[Fault]:
    """Yield a note (`tiny-box`) for each box with a side below one pixel once its image is 300×300. It is kept."""
    height, width = size_hw
    sides = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]) * (NETWORK_SIDE / width, NETWORK_SIDE / height)
    for row in np.flatnonzero(((sides > 0) & (sides < 1)).any(axis=1)).tolist():
        message = f"is thinner than one pixel of a {NETWORK_SIDE}×{NETWORK_SIDE} input; it is kept"
        yield make_fault("tiny-box", f"{places[row].shown} {message}", places[row].file, places[row].line)
