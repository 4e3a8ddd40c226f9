"""A data set as a handful of flat arrays, for sending to worker processes.

A list of five million records costs every worker seconds to receive, and under `fork` touching a record copies its
memory page (Python counts references in it), so that memory grows all through the first epoch. Flat arrays go over
in one piece, never grow, and give back each picture as a slice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8
from numpy import ndarray

from singleshot.structures import Sample


@dataclass(frozen=True)
class PackedSamples:
    """What loading needs of some samples.

    Args:
        paths: the picture files' names in UTF-8, end to end.
        path_ends: (P+1,) picture i's name is `paths[path_ends[i]:path_ends[i + 1]]`.
        boxes_xyxy: (M, 4) all boxes, end to end.
        class_ids: (M,) theirs.
        box_ends: (P+1,) picture i's boxes are rows `box_ends[i]:box_ends[i + 1]`.
    """

    paths: UInt8[ndarray, " T"]
    path_ends: Int[ndarray, " P1"]
    boxes_xyxy: Float[ndarray, "M 4"]
    class_ids: Int[ndarray, " M"]
    box_ends: Int[ndarray, " P1"]

    def __len__(self) -> int:
        return len(self.path_ends) - 1

    def path(self, index: int) -> Path:
        """The picture's file."""
        name = self.paths[self.path_ends[index] : self.path_ends[index + 1]].tobytes()
        return Path(name.decode("utf-8", "surrogateescape"))

    def annotation(self, index: int) -> tuple[Float[ndarray, "N 4"], Int[ndarray, " N"]]:
        """The picture's boxes and their class ids; N may be 0."""
        rows = slice(self.box_ends[index], self.box_ends[index + 1])
        return self.boxes_xyxy[rows], self.class_ids[rows]


def pack(samples: Sequence[Sample], *, keep_difficult: bool = True) -> PackedSamples:
    """The samples end to end, in their order; without their difficult boxes where these are not wanted."""
    # surrogateescape, because a file name on Linux is bytes and need not be text in any encoding.
    names = [str(sample.image_path).encode("utf-8", "surrogateescape") for sample in samples]
    kept = [np.flatnonzero(~sample.difficult | keep_difficult) for sample in samples]
    boxes = [sample.boxes_xyxy[rows] for sample, rows in zip(samples, kept, strict=True)]
    class_ids = [sample.class_ids[rows] for sample, rows in zip(samples, kept, strict=True)]
    return PackedSamples(
        paths=np.frombuffer(b"".join(names), dtype=np.uint8),
        path_ends=_ends([len(name) for name in names]),
        boxes_xyxy=np.concatenate([np.empty((0, 4)), *boxes]).astype(np.float64),
        class_ids=np.concatenate([np.empty(0, dtype=np.int64), *class_ids]),
        box_ends=_ends([len(rows) for rows in kept]),
    )


def _ends(lengths: list[int]) -> Int[ndarray, " P1"]:
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)
