"""From pairs of picture and mask to samples, with what is wrong with a pair named before any training.

All readers of masks end here. Headers alone are read: a mask of another size than its picture, a picture without a
mask and a mask without a picture are found in microseconds each; wrong values show when the pixels are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from singleshot.data.masks import mask_files
from singleshot.errors import DataError, Fault, InputMissingError
from singleshot.images import read_size_hw
from singleshot.structures import Sample

_NO_BOXES = np.zeros((0, 4))
_NO_IDS = np.zeros(0, dtype=np.int64)
_NO_FLAGS = np.zeros(0, dtype=np.bool_)


@dataclass(frozen=True)
class Pair:
    """A picture and its mask as a list or a folder pairs them.

    Args:
        image_id: the picture's name in its data set.
        image_path: its file, which need not be there.
        mask_path: the mask's file, which need not be there; None for a split without masks.
        file: where the pair is written down, for messages; None for pairs that were found by name.
        line: the 1-based line there.
    """

    image_id: str
    image_path: Path
    mask_path: Path | None
    file: Path | None = None
    line: int | None = None


def samples_of(pairs: Iterable[Pair]) -> tuple[tuple[Sample, ...], tuple[Fault, ...]]:
    """The pairs that hold together, in order, and the faults of the others, all fatal.

    The kinds of fault are `missing-picture`, `missing-mask`, `other-size-mask`, and those of `pictures` and
    `mask_files` that a header tells.
    """
    samples: list[Sample] = []
    faults: list[Fault] = []
    for pair in pairs:
        try:
            samples.append(_sample(pair))
        except DataError as error:
            faults.append(error.as_fault())
        except InputMissingError as error:
            faults.append(_missing(pair, error.file or pair.image_path))
    return tuple(samples), tuple(faults)


def without_pictures(masks: Sequence[Path], where: str) -> tuple[Fault, ...]:
    """A fault for each mask that no picture belongs to; `where` says where the picture should be."""
    what = f"a mask without a picture: no picture of this name in {where}. Add the picture or delete the mask"
    return tuple(Fault(mask, None, "missing-picture", "fatal", what) for mask in masks)


def _sample(pair: Pair) -> Sample:
    size_hw = read_size_hw(pair.image_path)
    if pair.mask_path is not None:
        height, width = mask_files.size_hw(pair.mask_path)
        if (height, width) != size_hw:
            what = f"the mask is {width}×{height}, its picture {pair.image_path.name} {size_hw[1]}×{size_hw[0]}"
            remedy = "Draw it at the picture's size, or resize it by nearest neighbour"
            raise DataError(what, kind="other-size-mask", remedy=remedy, file=pair.mask_path)
    return Sample(pair.image_id, pair.image_path, size_hw, _NO_BOXES, _NO_IDS, _NO_FLAGS, pair.mask_path)


def _missing(pair: Pair, file: Path) -> Fault:
    if file == pair.mask_path:
        what = f"{pair.image_path.name} has no mask {file.name}. Add it or leave the picture out"
        return Fault(pair.file or pair.image_path, pair.line, "missing-mask", "fatal", what)
    what = f"picture {pair.image_path} not found. Add it or leave its mask out"
    return Fault(pair.file or pair.mask_path or pair.image_path, pair.line, "missing-picture", "fatal", what)
