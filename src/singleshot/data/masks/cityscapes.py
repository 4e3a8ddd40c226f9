"""Cityscapes: `leftImg8bit/<split>/<city>/*_leftImg8bit.png` and `gtFine/…/*_gtFine_labelIds.png` → a `Dataset`.

Masks are read by their original ids, and the 19 judged classes become class ids 0…18; everything else is void. So
nothing has to be prepared (`*_labelTrainIds.png` are not looked at) and nothing can be judged in the wrong numbering.
"""

from __future__ import annotations

from pathlib import Path

from singleshot.classes import CITYSCAPES
from singleshot.data.masks.cityscapes_labels import CODE, JUDGED
from singleshot.data.masks.mask_samples import Pair, samples_of, without_pictures
from singleshot.errors import DataError, InputMissingError
from singleshot.structures import Dataset, LabelMap

PICTURES, TRUTHS = "leftImg8bit", "gtFine"
PICTURE_END, TRUTH_END, INSTANCE_END = "_leftImg8bit.png", "_gtFine_labelIds.png", "_gtFine_instanceIds.png"


def looks_like(root: Path) -> bool:
    """Whether a folder is Cityscapes'."""
    return (root / PICTURES).is_dir() and ((root / TRUTHS).is_dir() or (root / PICTURES / "test").is_dir())


def read(root: Path | str, split: str, *, annotated: bool | None = None) -> Dataset:
    """One split, in order of city and name.

    Args:
        root: the folder that holds `leftImg8bit` and `gtFine`.
        split: `train`, `val` or `test`, or another folder of `leftImg8bit`.
        annotated: whether the pictures have masks; None for all splits but `test`, whose public masks are blank.

    Returns:
        Samples with `mask_path` at `*_labelIds.png`. Image ids are `<city>_<sequence>_<frame>`.

    Raises:
        InputMissingError: no such folder or split.
        DataError: the split has no picture (`empty-split`).
    """
    root = Path(root)
    there = splits(root)
    folder = root / PICTURES / split
    if not folder.is_dir():
        remedy = f"There are: {', '.join(there) or 'none'}"
        raise InputMissingError(f"no split {split!r}", remedy=remedy, file=root / PICTURES)
    annotated = split != "test" if annotated is None else annotated
    pairs, masks = [], set[Path]()
    for path in sorted(folder.glob(f"*/*{PICTURE_END}")):
        image_id = path.name.removesuffix(PICTURE_END)
        mask = root / TRUTHS / split / path.parent.name / f"{image_id}{TRUTH_END}"
        masks.add(mask)
        pairs.append(Pair(image_id, path, mask if annotated else None))
    if not pairs:
        raise DataError("0 pictures in the split", kind="empty-split", remedy="Unpack leftImg8bit here", file=folder)
    samples, faults = samples_of(pairs)
    if annotated:
        alone = [mask for mask in sorted((root / TRUTHS / split).glob(f"*/*{TRUTH_END}")) if mask not in masks]
        faults += without_pictures(alone, f"{PICTURES}/{split}")
    colours = tuple(label.colour for label in JUDGED)
    return Dataset(root, "cityscapes", split, LabelMap(tuple(CITYSCAPES)), samples, faults, CODE, colours)


def splits(root: Path) -> list[str]:
    """The names of a folder's splits, sorted. Raises InputMissingError where it is not Cityscapes'."""
    if not looks_like(root):
        remedy = "A Cityscapes folder holds leftImg8bit/ and gtFine/"
        raise InputMissingError("not a Cityscapes folder", remedy=remedy, file=root)
    return sorted(path.name for path in (root / PICTURES).iterdir() if path.is_dir())


def instance_path(mask_path: Path) -> Path:
    """Where the instances of a mask are numbered, if they are."""
    return mask_path.with_name(mask_path.name.replace(TRUTH_END, INSTANCE_END))
