"""Masks as results: written for the servers that score them, and read back from any program's folder.

Cityscapes     <city>_<sequence>_<frame>_pred_labelIds.png with original ids (train ids are refused: they would score
               badly without an error)
KITTI road     um_road_000000.png, grey 0…255 = probability of road; of the image in the folder `in_picture`, and of
               the bird's-eye view beside that folder
anything else  <image id>.png with the numbers of the data set's own masks
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from singleshot.data.folders import matching
from singleshot.data.masks import cityscapes, files, kitti_road
from singleshot.errors import CannotCreateError, DataError, InputMissingError
from singleshot.storage import atomic
from singleshot.structures import UNKNOWN, VOID, Dataset, MaskCode, Sample

MAX_LISTED = 10
IN_PICTURE = "in_picture"
"""The folder of KITTI road's maps of the image, beside those of the bird's-eye view."""
_LAST_TRAIN_ID, _LAST_VOID_ID = 18, 6
_VOID_SHARE = 0.05  # in original ids hardly any pixel is in 0…6, which are all void
_FIRST_BEYOND = min(label.train_id for label in cityscapes.EVALUATED if label.id > _LAST_TRAIN_ID)


def result_name(dataset: Dataset, sample: Sample) -> str:
    """Return the file name of an image's result."""
    if dataset.layout == "cityscapes":
        return f"{sample.image_id}_pred_labelIds.png"
    if dataset.layout == "kitti_road":
        return kitti_road.result_name(sample.image_id)
    return f"{sample.image_id}.png"


def check_target(folder: Path, *, overwrite: bool) -> None:
    """Raise CannotCreateError where a folder for results is not empty and may not be overwritten."""
    if folder.exists() and not (folder.is_dir() and (overwrite or not any(folder.iterdir()))):
        raise CannotCreateError("already exists", remedy="Choose another folder or pass --overwrite", file=folder)


def write(folder: Path, dataset: Dataset, sample: Sample, class_ids: UInt8[ndarray, "H W"]) -> Path:
    """Write one image's mask under its name, in the data set's own numbers. Returns the file."""
    path = folder / result_name(dataset, sample)
    atomic.write_bytes(path, files.encode(in_own_numbers(dataset, class_ids)))
    return path


def in_own_numbers(dataset: Dataset, class_ids: UInt8[ndarray, "H W"]) -> UInt8[ndarray, "H W"]:
    """Return class ids as the data set's mask files number them; unchanged where those files are in colour."""
    if dataset.layout == "cityscapes":
        return cityscapes.to_ids(class_ids)
    code = dataset.mask_code
    if code is None or _only_colours(code):
        return class_ids
    table = np.full(256, VOID, dtype=np.uint8)
    for value in reversed(range(256)):
        if code.values[value] < len(dataset.label_map):
            table[code.values[value]] = value
    return table[class_ids]


def _only_colours(code: MaskCode) -> bool:
    """Return whether no number of a single-channel mask is a class."""
    return all(class_id in (VOID, UNKNOWN) for class_id in code.values)


def find(folder: Path, dataset: Dataset, *, partial: bool = False) -> list[Path | None]:
    """Find each sample's result file, in order.

    A file is an image's result if it has our name for it, is named by the image id, has the mask's name, or begins
    with the image id; in this order. A file that is named for one image is not used for another. Of KITTI road a map
    of the image, in `in_picture`, is preferred to one of the bird's-eye view: it can be evaluated in both.

    Args:
        folder: the results of any program; subfolders are searched too.
        dataset: the split.
        partial: return None for an image without a result instead of raising.

    Raises:
        InputMissingError: no such folder.
        DataError: results are missing (`missing-results`), or several files match one image (`ambiguous-results`).
    """
    if not folder.is_dir():
        raise InputMissingError("no such folder of results", remedy="Check the path", file=folder)
    by_name: dict[str, list[Path]] = {}
    for path in matching(folder, "**/*.png"):
        by_name.setdefault(path.name, []).append(path)
    if dataset.layout == "kitti_road":
        by_name = {
            name: [path for path in paths if path.parent.name == IN_PICTURE] or paths for name, paths in by_name.items()
        }
    named: list[list[Path]] = []
    for sample in dataset.samples:
        names = [result_name(dataset, sample), f"{sample.image_id}.png"]
        names += [sample.mask_path.name] if sample.mask_path is not None else []
        named.append(next((by_name[name] for name in names if name in by_name), []))
    free = sorted(by_name.keys() - {path.name for paths in named for path in paths})
    found: list[Path | None] = []
    for sample, paths in zip(dataset.samples, named, strict=True):
        paths = paths or [path for name in _beginning_with(sample.image_id, free) for path in by_name[name]]
        if len(paths) > 1:
            message = f"{len(paths)} files could be the result for {sample.image_id}: {paths[0]}, {paths[1]}"
            remedy = f"Leave one of them, named {result_name(dataset, sample)}"
            raise DataError(message, kind="ambiguous-results", remedy=remedy, file=paths[0].parent)
        found.append(paths[0] if paths else None)
    missing = [sample.image_id for sample, path in zip(dataset.samples, found, strict=True) if path is None]
    if missing and (not partial or len(missing) == len(found)):
        more = f" and {len(missing) - MAX_LISTED} more" if len(missing) > MAX_LISTED else ""
        message = f"{len(missing)} of {len(found)} images have no result: {', '.join(missing[:MAX_LISTED])}{more}"
        remedy = "Add them, or evaluate the others with --partial"
        raise DataError(message, kind="missing-results", remedy=remedy, file=folder)
    return found


def _beginning_with(image_id: str, names: Sequence[str]) -> Sequence[str]:
    """Return those of some sorted names that begin with an image id and an underscore."""
    start = bisect.bisect_left(names, f"{image_id}_")
    end = start
    while end < len(names) and names[end].startswith(f"{image_id}_"):
        end += 1
    return names[start:end]


def coverage(found: Sequence[Path | None]) -> str | None:
    """Return a warning for results of a part of the split; None where every image has one."""
    count = sum(path is not None for path in found)
    if count == len(found):
        return None
    return f"only {count} of {len(found)} images have results; the figures are for these and not comparable with others"


def read(path: Path, dataset: Dataset, size_hw: tuple[int, int]) -> UInt8[ndarray, "H W"]:
    """Read one result as class ids, `VOID` where it names no class that is evaluated.

    Raises:
        DataError: not of the image's size (`other-size-mask`), values that are not defined, or train ids where ids of
            Cityscapes are required (`train-ids`).
    """
    code = dataset.mask_code or MaskCode((UNKNOWN,) * 256)
    if _only_colours(code) and not files.is_colour(path):
        classes = len(dataset.label_map)
        code = MaskCode(tuple(value if value < classes or value == VOID else UNKNOWN for value in range(256)))
    class_ids = files.read(path, code)
    check_size(path, class_ids, size_hw)
    if dataset.layout == "cityscapes":
        raw = files.read_grey(path)
        used = raw[raw != VOID]
        if used.size and used.max() <= _LAST_TRAIN_ID and (used <= _LAST_VOID_ID).mean() > _VOID_SHARE:
            raise _train_ids(f"values up to {int(used.max())}, many of them 0 to {_LAST_VOID_ID}", path)
    return class_ids


class TrainIdCheck:
    """Recognises train ids in a whole set of Cityscapes results, where no single image may prove them.

    Args:
        dataset: the split; other data sets always pass.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._applies = dataset.layout == "cityscapes"
        self._void = self._beyond = False

    def update(self, class_ids: UInt8[ndarray, "H W"]) -> None:
        """Add one result, as `read` returns it."""
        if self._applies and not (self._void and self._beyond):
            occurs = np.bincount(class_ids.ravel(), minlength=VOID + 1) > 0
            self._void |= bool(occurs[VOID])
            self._beyond |= bool(occurs[_FIRST_BEYOND:VOID].any())

    def check(self, folder: Path) -> None:
        """Raise DataError (`train-ids`) where no result has a class with an id above 18, and some have no class."""
        if self._void and not self._beyond:
            raise _train_ids(f"no value above {_LAST_TRAIN_ID} in the whole set", folder)


def check_size(path: Path, result: UInt8[ndarray, "H W"], size_hw: tuple[int, int]) -> None:
    """Raise DataError where a result does not have its image's size."""
    if result.shape != tuple(size_hw):
        message = f"the result is {result.shape[1]}×{result.shape[0]}, its image {size_hw[1]}×{size_hw[0]}"
        raise DataError(message, kind="other-size-mask", remedy="Write results at the image's own size", file=path)


def _train_ids(message: str, path: Path) -> DataError:
    remedy = "Write original ids: 7 road, 8 sidewalk, …"
    return DataError(f"{message}: these look like train ids", kind="train-ids", remedy=remedy, file=path)
