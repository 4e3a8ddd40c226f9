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

from singleshot.data.load.sample_table import SampleTable
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
        sizes_hw: (P, 2) the pictures' heights and widths as annotated; 0 where the annotation does not say.
    """

    paths: UInt8[ndarray, " T"]
    path_ends: Int[ndarray, " P1"]
    boxes_xyxy: Float[ndarray, "M 4"]
    class_ids: Int[ndarray, " M"]
    box_ends: Int[ndarray, " P1"]
    sizes_hw: Int[ndarray, "P 2"]

    def __len__(self) -> int:
        return len(self.path_ends) - 1

    def path(self, index: int) -> Path:
        """The picture's file."""
        name = self.paths[self.path_ends[index] : self.path_ends[index + 1]].tobytes()
        return Path(name.decode("utf-8", "surrogateescape"))

    def size_hw(self, index: int) -> tuple[int, int] | None:
        """The picture's height and width as annotated; None where the annotation does not say."""
        height, width = self.sizes_hw[index].tolist()
        return (height, width) if height else None

    def annotation(self, index: int) -> tuple[Float[ndarray, "N 4"], Int[ndarray, " N"]]:
        """The picture's boxes and their class ids; N may be 0."""
        rows = slice(self.box_ends[index], self.box_ends[index + 1])
        return self.boxes_xyxy[rows], self.class_ids[rows]


def pack(samples: Sequence[Sample], *, keep_difficult: bool = True) -> PackedSamples:
    """The samples end to end, in their order; without boxes around crowds, and without difficult ones if not wanted."""
    table = SampleTable.from_samples(samples)
    kept = np.ones(len(table.class_ids), np.bool_) if keep_difficult else ~table.difficult
    if len(table.crowd):
        kept &= ~table.crowd
    kept_before = np.concatenate([[0], np.cumsum(kept, dtype=np.int64)])
    return PackedSamples(
        paths=table.paths,
        path_ends=table.path_ends,
        boxes_xyxy=table.boxes_xyxy[kept].astype(np.float64, copy=False),
        class_ids=table.class_ids[kept],
        box_ends=kept_before[table.box_ends],
        sizes_hw=np.maximum(table.sizes_hw, 0),
    )
