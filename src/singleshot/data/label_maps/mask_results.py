"""Masks as results: written for the servers that judge them, and read back from any program's folder.

Cityscapes     <city>_<sequence>_<frame>_pred_labelIds.png with original ids (train ids are refused: judged, they
               would be wrong without a word)
KITTI road     um_road_000000.png, grey 0…255 = probability of road; see `road_results`
anything else  <image id>.png with the numbers that the data set's own masks have
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from singleshot import durable
from singleshot.data.label_maps import cityscapes_labels, kitti_road, mask_files
from singleshot.errors import CannotCreateError, DataError, InputMissingError
from singleshot.structures import UNKNOWN, VOID, Dataset, MaskCode, Sample

SHOWN = 10
_LAST_TRAIN_ID, _LAST_VOID_ID = 18, 6


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
    durable.write_bytes(path, mask_files.encode(in_own_numbers(dataset, class_ids)))
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
    """Each sample's result file, in order: named as we name it, as the mask is, or beginning with the id.

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
    files = {path.name: path for path in sorted(folder.rglob("*.png"), reverse=True)}
    found = [_file_of(sample, dataset, files) for sample in dataset.samples]
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
        if raw.max() <= _LAST_TRAIN_ID and (raw <= _LAST_VOID_ID).mean() > 0.5:
            what = f"values up to {int(raw.max())}, most of them 0 to {_LAST_VOID_ID}: these look like train ids"
            raise DataError(what, kind="train-ids", remedy="Write original ids: 7 road, 8 sidewalk, …", file=path)
    return class_ids


def check_size(path: Path, result: UInt8[ndarray, "H W"], size_hw: tuple[int, int]) -> None:
    """Raises DataError where a result has not its picture's size."""
    if result.shape != tuple(size_hw):
        what = f"the result is {result.shape[1]}×{result.shape[0]}, its picture {size_hw[1]}×{size_hw[0]}"
        raise DataError(what, kind="other-size-mask", remedy="Write results at the picture's own size", file=path)


def _file_of(sample: Sample, dataset: Dataset, files: dict[str, Path]) -> Path | None:
    names = [result_name(dataset, sample), f"{sample.image_id}.png"]
    names += [sample.mask_path.name] if sample.mask_path is not None else []
    exact = [files[name] for name in names if name in files]
    if exact:
        return exact[0]
    loose = [path for name, path in files.items() if name.startswith(f"{sample.image_id}_")]
    if len(loose) > 1:
        what = f"{len(loose)} files could be the result for {sample.image_id}, such as {loose[0].name}"
        raise DataError(what, kind="ambiguous-results", remedy=f"Name it {names[0]}", file=loose[0].parent)
    return loose[0] if loose else None
