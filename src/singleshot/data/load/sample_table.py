"""Samples as a few flat arrays that look like a sequence of `Sample`: for large data sets, and for the index cache.

A million records of Python's cost gigabytes and seconds; as arrays they cost what their numbers cost, go to a file and
back in one piece, and a record is made only when somebody asks for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import overload

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from numpy import ndarray

from singleshot.boxes import area
from singleshot.structures import Sample

UNKNOWN_SIZE = -1


@dataclass(frozen=True)
class SampleTable(Sequence[Sample]):
    """P samples with M boxes.

    Args:
        image_ids: their names in UTF-8, end to end.
        image_id_ends: (P+1,) the name of sample i is `image_ids[image_id_ends[i]:image_id_ends[i + 1]]`.
        paths, path_ends: the picture files, likewise.
        mask_paths, mask_path_ends: the mask files, likewise; nothing where there is none.
        sizes_hw: (P, 2) `UNKNOWN_SIZE` where a sample has none.
        boxes_xyxy: (M, 4) all boxes, end to end.
        class_ids, difficult: (M,) theirs.
        crowd, areas: (M,), or of length 0 where no sample has them.
        box_ends: (P+1,) the boxes of sample i are rows `box_ends[i]:box_ends[i + 1]`.
    """

    image_ids: UInt8[ndarray, " A"]
    image_id_ends: Int[ndarray, " P1"]
    paths: UInt8[ndarray, " B"]
    path_ends: Int[ndarray, " P1"]
    mask_paths: UInt8[ndarray, " C"]
    mask_path_ends: Int[ndarray, " P1"]
    sizes_hw: Int[ndarray, "P 2"]
    boxes_xyxy: Float[ndarray, "M 4"]
    class_ids: Int[ndarray, " M"]
    difficult: Bool[ndarray, " M"]
    crowd: Bool[ndarray, " M_or_0"]
    areas: Float[ndarray, " M_or_0_too"]
    box_ends: Int[ndarray, " P1"]

    @classmethod
    def from_samples(cls, samples: Sequence[Sample]) -> SampleTable:
        """The same samples as a table; a table is given back as it is."""
        if isinstance(samples, SampleTable):
            return samples
        image_ids, image_id_ends = _joined(sample.image_id for sample in samples)
        paths, path_ends = _joined(str(sample.image_path) for sample in samples)
        mask_paths, mask_path_ends = _joined(str(sample.mask_path or "") for sample in samples)
        crowds = any(sample.crowd is not None for sample in samples)
        areas = any(sample.areas is not None for sample in samples)
        return cls(
            image_ids,
            image_id_ends,
            paths,
            path_ends,
            mask_paths,
            mask_path_ends,
            np.array([sample.size_hw or (UNKNOWN_SIZE,) * 2 for sample in samples], np.int32).reshape(-1, 2),
            np.concatenate([np.empty((0, 4)), *(sample.boxes_xyxy for sample in samples)]),
            np.concatenate([np.empty(0, np.int64), *(sample.class_ids for sample in samples)]),
            np.concatenate([np.empty(0, np.bool_), *(sample.difficult for sample in samples)]),
            np.concatenate([np.empty(0, np.bool_), *(_crowd(sample) for sample in samples if crowds)]),
            np.concatenate([np.empty(0), *(areas_of(sample) for sample in samples if areas)]),
            _ends([len(sample.class_ids) for sample in samples]),
        )

    @classmethod
    def from_arrays(cls, arrays: dict[str, ndarray]) -> SampleTable:
        """The inverse of `arrays`. Raises KeyError where one is missing."""
        return cls(**{field.name: arrays[field.name] for field in fields(cls)})

    def arrays(self) -> dict[str, ndarray]:
        """The arrays by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def __len__(self) -> int:
        return len(self.box_ends) - 1

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | Sequence[Sample]:
        """A sample, or a tuple of samples for a slice."""
        if isinstance(index, slice):
            return tuple(self[place] for place in range(*index.indices(len(self))))
        place = index + len(self) if index < 0 else index
        if not 0 <= place < len(self):
            raise IndexError(index)
        rows = slice(int(self.box_ends[place]), int(self.box_ends[place + 1]))
        height, width = self.sizes_hw[place].tolist()
        mask = _text(self.mask_paths, self.mask_path_ends, place)
        return Sample(
            self.image_id(place),
            Path(_text(self.paths, self.path_ends, place)),
            None if height == UNKNOWN_SIZE else (height, width),
            self.boxes_xyxy[rows],
            self.class_ids[rows],
            self.difficult[rows],
            Path(mask) if mask else None,
            self.crowd[rows] if len(self.crowd) else None,
            self.areas[rows] if len(self.areas) else None,
        )

    def __iter__(self) -> Iterator[Sample]:
        return (self[place] for place in range(len(self)))

    def image_id(self, place: int) -> str:
        """The id of one sample, without the rest of it."""
        return _text(self.image_ids, self.image_id_ends, place)


def image_ids(samples: Sequence[Sample]) -> list[str]:
    """The ids of some samples, without making records of a table."""
    if isinstance(samples, SampleTable):
        return [samples.image_id(place) for place in range(len(samples))]
    return [sample.image_id for sample in samples]


def _joined(texts: Iterable[str]) -> tuple[UInt8[ndarray, " T"], Int[ndarray, " P1"]]:
    # surrogateescape, because a file name on Linux is bytes and need not be text in any encoding.
    pieces = [text.encode("utf-8", "surrogateescape") for text in texts]
    return np.frombuffer(b"".join(pieces), np.uint8), _ends([len(piece) for piece in pieces])


def _text(blob: ndarray, ends: ndarray, place: int) -> str:
    return blob[ends[place] : ends[place + 1]].tobytes().decode("utf-8", "surrogateescape")


def _ends(lengths: list[int]) -> Int[ndarray, " P1"]:
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)


def _crowd(sample: Sample) -> ndarray:
    return np.zeros(len(sample.class_ids), np.bool_) if sample.crowd is None else sample.crowd


def areas_of(sample: Sample) -> Float[ndarray, " N"]:
    """The area of each object as its format gives it, or else its box's, in square pixels."""
    return area(sample.boxes_xyxy) if sample.areas is None else sample.areas
