"""Masks as results: written for the servers that judge them, and read back from any program's folder.

Cityscapes     <city>_<sequence>_<frame>_pred_labelIds.png with original ids (train ids are refused: judged, they
               would be wrong without a word)
KITTI road     um_road_000000.png, grey 0…255 = probability of road; see `road_results`
anything else  <image id>.png with the numbers that the data set's own masks have
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from singleshot.data.masks import cityscapes_labels, kitti_road, mask_files
from singleshot.errors import CannotCreateError, DataError, InputMissingError
from singleshot.storage import atomic
from singleshot.structures import UNKNOWN, VOID, Dataset, MaskCode, Sample

SHOWN = 10
IN_PICTURE = "in_picture"
"""The folder of KITTI road's maps in the picture plane, beside those from above."""
_LAST_TRAIN_ID, _LAST_VOID_ID = 18, 6
_VOID_SHARE = 0.05  # of original ids hardly any pixel is in 0…6: they say no class
_BEYOND = min(label.train_id for label in cityscapes_labels.JUDGED if label.id > _LAST_TRAIN_ID)


def result_name(dataset: Dataset, sample: Sample) -> str:
    """The file name of a picture's result."""
    if dataset.layout == "cityscapes":
        return f"{sample.image_id}_pred_labelIds.png"
    if dataset.layout == "kitti_road":
        return kitti_road.result_name(sample.image_id)
    return f"{sample.image_id}.png"


def check_target(folder: Path, *, overwrite: bool) -> None:
    """Raises CannotCreateError where a folder for results holds something already."""
    if folder.exists() and not (folder.is_dir() and (overwrite or not any(folder.iterdir()))):
        raise CannotCreateError("already exists", remedy="Choose another folder or pass --overwrite", file=folder)


def write(folder: Path, dataset: Dataset, sample: Sample, class_ids: UInt8[ndarray, "H W"]) -> Path:
    """Write one picture's mask under its name, in the data set's own numbers. Returns the file."""
    path = folder / result_name(dataset, sample)
    atomic.write_bytes(path, mask_files.encode(in_own_numbers(dataset, class_ids)))
    return path


def in_own_numbers(dataset: Dataset, class_ids: UInt8[ndarray, "H W"]) -> UInt8[ndarray, "H W"]:
    """Class ids as the data set's mask files number them; class ids themselves where those files are in colour."""
    if dataset.layout == "cityscapes":
        return cityscapes_labels.to_ids(class_ids)
    code = dataset.mask_code
    if code is None or all(meaning in (VOID, UNKNOWN) for meaning in code.values):
        return class_ids
    table = np.full(256, VOID, dtype=np.uint8)
    for value in reversed(range(256)):
        if code.values[value] < len(dataset.label_map):
            table[code.values[value]] = value
    return table[class_ids]


def find(folder: Path, dataset: Dataset, *, partial: bool = False) -> list[Path | None]:
    """Each sample's result file, in order: named as we name it, by the id, as the mask is, or beginning with the id.

    A file that is named so for one picture is no other picture's. Of KITTI road a map of the picture plane, in
    `in_picture`, is taken before the one from above: it can be judged in both.

    Args:
        folder: of any program's results; folders inside it are looked through too.
        dataset: the split.
        partial: None for a picture without a result; else that is an error.

    Raises:
        InputMissingError: no such folder.
        DataError: results are missing (`missing-results`), or several files could be one picture's.
    """
    if not folder.is_dir():
        raise InputMissingError("no such folder of results", remedy="Check the path", file=folder)
    files: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*.png")):
        files.setdefault(path.name, []).append(path)
    if dataset.layout == "kitti_road":
        files = {
            name: [path for path in same if path.parent.name == IN_PICTURE] or same for name, same in files.items()
        }
    named = [next((files[name] for name in _names(sample, dataset) if name in files), []) for sample in dataset.samples]
    free = sorted(files.keys() - {path.name for same in named for path in same})
    found = [
        _only(sample, dataset, same or [path for name in _beginning(sample.image_id, free) for path in files[name]])
        for sample, same in zip(dataset.samples, named, strict=True)
    ]
    missing = [sample.image_id for sample, path in zip(dataset.samples, found, strict=True) if path is None]
    if missing and (not partial or len(missing) == len(found)):
        more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
        what = f"{len(missing)} of {len(found)} pictures have no result: {', '.join(missing[:SHOWN])}{more}"
        remedy = "Add them, or judge what is there with --partial"
        raise DataError(what, kind="missing-results", remedy=remedy, file=folder)
    return found


def coverage(found: Sequence[Path | None]) -> str | None:
    """What to tell a user whose results are for a part of the split; None where they are for all of it."""
    there = sum(path is not None for path in found)
    if there == len(found):
        return None
    return f"only {there} of {len(found)} pictures have results; the figures are for these and compare with no others"


def read(path: Path, dataset: Dataset, size_hw: tuple[int, int]) -> UInt8[ndarray, "H W"]:
    """One result as class ids, `VOID` where it names no class that is judged.

    Raises:
        DataError: not of the picture's size (`other-size-mask`), values that are unknown, or train ids where ids of
            Cityscapes are wanted.
    """
    code = dataset.mask_code or MaskCode((UNKNOWN,) * 256)
    in_colour = all(meaning in (VOID, UNKNOWN) for meaning in code.values)
    if in_colour and not mask_files.is_colour(path):
        classes = len(dataset.label_map)
        code = MaskCode(tuple(value if value < classes or value == VOID else UNKNOWN for value in range(256)))
    class_ids = mask_files.read(path, code)
    check_size(path, class_ids, size_hw)
    if dataset.layout == "cityscapes":
        raw = mask_files.read_grey(path)
        seen = raw[raw != VOID]
        if seen.size and seen.max() <= _LAST_TRAIN_ID and (seen <= _LAST_VOID_ID).mean() > _VOID_SHARE:
            raise _train_ids(f"values up to {int(seen.max())}, many of them 0 to {_LAST_VOID_ID}", path)
    return class_ids


class Numbering:
    """Watches a whole set of Cityscapes results go by: one in train ids may have no picture that shows it alone.

    Args:
        dataset: the split; of other data sets nothing is asked.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._asked = dataset.layout == "cityscapes"
        self._void = self._beyond = False

    def see(self, class_ids: UInt8[ndarray, "H W"]) -> None:
        """One result, as `read` gives it."""
        if self._asked and not (self._void and self._beyond):
            there = np.bincount(class_ids.ravel(), minlength=VOID + 1) > 0
            self._void |= bool(there[VOID])
            self._beyond |= bool(there[_BEYOND:VOID].any())

    def check(self, folder: Path) -> None:
        """Raises DataError (`train-ids`) where no result has a class with an id above 18, and some have no class."""
        if self._void and not self._beyond:
            raise _train_ids(f"no value above {_LAST_TRAIN_ID} in the whole set", folder)


def check_size(path: Path, result: UInt8[ndarray, "H W"], size_hw: tuple[int, int]) -> None:
    """Raises DataError where a result has not its picture's size."""
    if result.shape != tuple(size_hw):
        what = f"the result is {result.shape[1]}×{result.shape[0]}, its picture {size_hw[1]}×{size_hw[0]}"
        raise DataError(what, kind="other-size-mask", remedy="Write results at the picture's own size", file=path)


def _train_ids(what: str, path: Path) -> DataError:
    remedy = "Write original ids: 7 road, 8 sidewalk, …"
    return DataError(f"{what}: these look like train ids", kind="train-ids", remedy=remedy, file=path)


def _names(sample: Sample, dataset: Dataset) -> list[str]:
    """What a picture's result may be called, the likeliest first."""
    names = [result_name(dataset, sample), f"{sample.image_id}.png"]
    return names + ([sample.mask_path.name] if sample.mask_path is not None else [])


def _beginning(image_id: str, names: Sequence[str]) -> Sequence[str]:
    """Those of some sorted names that begin with a picture's id."""
    start = bisect.bisect_left(names, f"{image_id}_")
    end = start
    while end < len(names) and names[end].startswith(f"{image_id}_"):
        end += 1
    return names[start:end]


def _only(sample: Sample, dataset: Dataset, paths: Sequence[Path]) -> Path | None:
    """The one file there is, None for none. Raises DataError where there are several."""
    if len(paths) > 1:
        what = f"{len(paths)} files could be the result for {sample.image_id}: {paths[0]}, {paths[1]}"
        remedy = f"Leave one of them, named {result_name(dataset, sample)}"
        raise DataError(what, kind="ambiguous-results", remedy=remedy, file=paths[0].parent)
    return paths[0] if paths else None
