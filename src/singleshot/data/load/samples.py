"""Samples as a few flat arrays: a table that looks like a sequence of `Sample`, and the part of it that loading needs.

A million Python records cost gigabytes and seconds; as arrays they cost what their numbers cost, go to a file and
back in one piece, and a record is made only on access. A list of five million records costs every worker seconds to
receive, and under `fork` touching a record copies its memory page (Python counts references in it), so that memory
grows all through the first epoch. Flat arrays are sent in one piece, never grow, and give each image as a slice.
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
from singleshot.structures import MaskCode, Sample

UNKNOWN_SIZE = -1


@dataclass(frozen=True)
class SampleTable(Sequence[Sample]):
    """P samples with M boxes, as a sequence of `Sample`.

    Args:
        image_ids: the names of the images in UTF-8, end to end.
        image_id_ends: (P+1,) the name of sample i is `image_ids[image_id_ends[i]:image_id_ends[i + 1]]`.
        paths, path_ends: the image files, likewise.
        mask_paths, mask_path_ends: the mask files, likewise; an empty name where there is none.
        sizes_hw: (P, 2) `UNKNOWN_SIZE` where a sample has none.
        boxes_xyxy: (M, 4) all boxes, end to end.
        class_ids, difficult: (M,) of the boxes.
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
        """Returns the same samples as a table; a table itself."""
        if isinstance(samples, SampleTable):
            return samples
        image_ids, image_id_ends = _joined(sample.image_id for sample in samples)
        paths, path_ends = _joined(str(sample.image_path) for sample in samples)
        mask_paths, mask_path_ends = _joined(str(sample.mask_path or "") for sample in samples)
        no_crowd = [np.zeros(len(sample.class_ids), np.bool_) for sample in samples]
        crowds = [
            none if sample.crowd is None else sample.crowd for sample, none in zip(samples, no_crowd, strict=True)
        ]
        if all(sample.crowd is None for sample in samples):
            crowds = []
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
            np.concatenate([np.empty(0, np.bool_), *crowds]),
            np.concatenate([np.empty(0), *(areas_of(sample) for sample in samples if areas)]),
            _ends([len(sample.class_ids) for sample in samples]),
        )

    @classmethod
    def from_arrays(cls, arrays: dict[str, ndarray]) -> SampleTable:
        """Builds a table from its arrays by name, the inverse of `arrays`. Raises KeyError where one is missing."""
        return cls(**{field.name: arrays[field.name] for field in fields(cls)})

    def arrays(self) -> dict[str, ndarray]:
        """Returns the arrays by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def __len__(self) -> int:
        return len(self.box_ends) - 1

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | Sequence[Sample]:
        """Returns a sample, or a tuple of samples for a slice."""
        if isinstance(index, slice):
            return tuple(self[each] for each in range(*index.indices(len(self))))
        row = index + len(self) if index < 0 else index
        if not 0 <= row < len(self):
            raise IndexError(index)
        boxes = slice(int(self.box_ends[row]), int(self.box_ends[row + 1]))
        height, width = self.sizes_hw[row].tolist()
        mask = _text(self.mask_paths, self.mask_path_ends, row)
        return Sample(
            self.image_id(row),
            Path(_text(self.paths, self.path_ends, row)),
            None if height == UNKNOWN_SIZE else (height, width),
            self.boxes_xyxy[boxes],
            self.class_ids[boxes],
            self.difficult[boxes],
            Path(mask) if mask else None,
            self.crowd[boxes] if len(self.crowd) else None,
            self.areas[boxes] if len(self.areas) else None,
        )

    def __iter__(self) -> Iterator[Sample]:
        return (self[row] for row in range(len(self)))

    def image_id(self, index: int) -> str:
        """Returns the id of one sample without making its record."""
        return _text(self.image_ids, self.image_id_ends, index)


@dataclass(frozen=True)
class PackedSamples:
    """What loading needs of some samples.

    Args:
        paths: the image files' names in UTF-8, end to end.
        path_ends: (P+1,) image i's name is `paths[path_ends[i]:path_ends[i + 1]]`.
        mask_paths, mask_path_ends: the mask files, likewise.
        mask_code: how the mask files are read; None where the samples have no masks.
        boxes_xyxy: (M, 4) all boxes, end to end.
        class_ids: (M,) of the boxes.
        box_ends: (P+1,) image i's boxes are rows `box_ends[i]:box_ends[i + 1]`.
        sizes_hw: (P, 2) the images' heights and widths as annotated; 0 where the annotation does not say.
    """

    paths: UInt8[ndarray, " T"]
    path_ends: Int[ndarray, " P1"]
    mask_paths: UInt8[ndarray, " S"]
    mask_path_ends: Int[ndarray, " P1"]
    mask_code: MaskCode | None
    boxes_xyxy: Float[ndarray, "M 4"]
    class_ids: Int[ndarray, " M"]
    box_ends: Int[ndarray, " P1"]
    sizes_hw: Int[ndarray, "P 2"]

    def __len__(self) -> int:
        return len(self.path_ends) - 1

    def path(self, index: int) -> Path:
        """Returns the image file."""
        return Path(_text(self.paths, self.path_ends, index))

    def mask_path(self, index: int) -> Path:
        """Returns the image's mask file."""
        return Path(_text(self.mask_paths, self.mask_path_ends, index))

    def size_hw(self, index: int) -> tuple[int, int] | None:
        """Returns the image's height and width as annotated; None where the annotation does not say."""
        height, width = self.sizes_hw[index].tolist()
        return (height, width) if height else None

    def boxes(self, index: int) -> tuple[Float[ndarray, "N 4"], Int[ndarray, " N"]]:
        """Returns the image's boxes and their class ids; N may be 0."""
        rows = slice(self.box_ends[index], self.box_ends[index + 1])
        return self.boxes_xyxy[rows], self.class_ids[rows]


def pack(samples: Sequence[Sample], *, mask_code: MaskCode | None = None, keep_difficult: bool = True) -> PackedSamples:
    """Packs samples in their order, without boxes around crowds, and without difficult boxes if so asked.

    The mask code is dropped where a sample has no mask.
    """
    table = SampleTable.from_samples(samples)
    keep = np.ones(len(table.class_ids), np.bool_) if keep_difficult else ~table.difficult
    if len(table.crowd):
        keep &= ~table.crowd
    kept_before = np.concatenate([[0], np.cumsum(keep, dtype=np.int64)])
    return PackedSamples(
        paths=table.paths,
        path_ends=table.path_ends,
        mask_paths=table.mask_paths,
        mask_path_ends=table.mask_path_ends,
        mask_code=mask_code if (np.diff(table.mask_path_ends) > 0).all() else None,
        boxes_xyxy=table.boxes_xyxy[keep].astype(np.float64, copy=False),
        class_ids=table.class_ids[keep],
        box_ends=kept_before[table.box_ends],
        sizes_hw=np.maximum(table.sizes_hw, 0),
    )


def image_ids(samples: Sequence[Sample]) -> list[str]:
    """Returns the ids of some samples, without making records of a table."""
    if isinstance(samples, SampleTable):
        return [samples.image_id(index) for index in range(len(samples))]
    return [sample.image_id for sample in samples]


def _joined(texts: Iterable[str]) -> tuple[UInt8[ndarray, " T"], Int[ndarray, " P1"]]:
    # surrogateescape, because a file name on Linux is bytes and need not be text in any encoding.
    pieces = [text.encode("utf-8", "surrogateescape") for text in texts]
    return np.frombuffer(b"".join(pieces), np.uint8), _ends([len(piece) for piece in pieces])


def _text(blob: ndarray, ends: ndarray, index: int) -> str:
    return blob[ends[index] : ends[index + 1]].tobytes().decode("utf-8", "surrogateescape")


def _ends(lengths: list[int]) -> Int[ndarray, " P1"]:
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)


def areas_of(sample: Sample) -> Float[ndarray, " N"]:
    """Returns the area of each object as its format gives it, or else of its box, in square pixels."""
    return area(sample.boxes_xyxy) if sample.areas is None else sample.areas
